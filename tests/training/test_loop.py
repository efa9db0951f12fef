"""The training loop: resumed equals unbroken, and every number of it in closed form."""

import math

import numpy as np
import pytest
import torch
from stages import refused

from routing.training import loop
from routing.training.batches import noise_batch
from routing.training.loop import TrainingId, train
from routing.training.schedule import Schedule
from routing.workflow import seeds

WHO = TrainingId("expert test/0", 11, (5, 0))
SCHEDULE = Schedule(steps=30, batch_size=4, learning_rate=0.05, warmup_steps=5, ema=0.9)


class Killed(Exception):
    pass


class Scalar(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([value]))


def small_net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))


class Task:
    """A regression whose batches come from the stream; raises Killed before call `die_before`."""

    def __init__(self, die_before=math.inf, value=None):
        self.die_before, self.value = die_before, value or {}
        self.calls, self.draws = 0, []

    def __call__(self, net, rng):
        if self.calls == self.die_before:
            raise Killed
        self.calls += 1
        x = torch.from_numpy(rng.standard_normal((4, 3), np.float32))
        self.draws.append(x[0, 0].item())
        return (net(x) - x.sum(1, keepdim=True)).square().mean() * self.value.get(self.calls, 1)


def fit(path, task=None, key=None, schedule=SCHEDULE, who=WHO):
    return train(small_net(), task or Task(), schedule, who, path, key or {"a": 1})


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("unbroken") / "s.state")


@pytest.fixture
def saves_always(monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)


def assert_same(found, expected):
    assert found[0].keys() == expected[0].keys()
    for name, array in expected[0].items():
        assert np.array_equal(found[0][name], array)
    assert found[1].equals(expected[1])


def killed(path, after, key=None):
    with pytest.raises(Killed):
        fit(path, Task(die_before=after), key)


@pytest.mark.parametrize("after", [0, 1, 7, 29])
def test_a_resumed_run_equals_an_unbroken_one(after, unbroken, tmp_path, saves_always):
    killed(tmp_path / "s.state", after)
    task = Task()
    assert_same(fit(tmp_path / "s.state", task), unbroken)
    assert task.calls == 30 - after


def test_a_run_killed_again_and_again_ends_the_same(unbroken, tmp_path, saves_always):
    for _ in range(4):
        killed(tmp_path / "s.state", 6)
    task = Task()
    assert_same(fit(tmp_path / "s.state", task), unbroken)
    assert task.calls == 6


def test_a_finished_run_is_not_trained_again(unbroken, tmp_path):
    fit(tmp_path / "s.state")
    task = Task()
    assert_same(fit(tmp_path / "s.state", task), unbroken)
    assert task.calls == 0


def test_a_state_is_saved_from_time_to_time_only(tmp_path):
    killed(tmp_path / "s.state", 20)
    assert not list(tmp_path.iterdir())


def test_the_state_of_another_key_is_not_resumed(unbroken, tmp_path, saves_always):
    killed(tmp_path / "s.state", 9, key={"a": 2})
    task = Task()
    assert_same(fit(tmp_path / "s.state", task), unbroken)
    assert task.calls == 30


def test_a_damaged_state_is_refused(tmp_path, saves_always):
    path = tmp_path / "s.state"
    killed(path, 9)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (b"", whole[:20], whole[:-7], bytes(flipped), whole + b"0"):
        path.write_bytes(data)
        with refused(r"s.state is damaged .*; delete it and run the same command again"):
            fit(path)
        assert path.read_bytes() == data
    path.write_bytes(whole)
    fit(path)


def test_a_full_disk_leaves_the_last_state(unbroken, tmp_path, saves_always, monkeypatch):
    path = tmp_path / "s.state"
    killed(path, 9)
    before = path.read_bytes()
    with monkeypatch.context() as patch:

        def full(descriptor):
            raise OSError(28, "no space left on device")

        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="no space"):
            fit(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert_same(fit(path), unbroken)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_who_and_when(bad, tmp_path, saves_always):
    with refused(rf"expert test/0: loss is {bad} at step 3; lower learning_rate \(now 0.05\)"):
        fit(tmp_path / "s.state", Task(value={3: bad}))
    task = Task()  # the two good steps are kept
    fit(tmp_path / "s.state", task)
    assert task.calls == 28


def test_the_batch_of_a_step_depends_on_its_number_alone(tmp_path, saves_always):
    task = Task()
    fit(tmp_path / "s.state", task)
    expected = [
        seeds.stream(11, "batches", 5, 0, n).standard_normal((4, 3), np.float32)[0, 0]
        for n in range(30)
    ]
    assert task.draws == [float(x) for x in expected]
    assert len(set(task.draws)) == 30
    other = Task()
    fit(tmp_path / "t.state", other, who=TrainingId("b", 11, (5, 1)))
    assert not set(task.draws) & set(other.draws)


def test_the_rate_warms_up_and_falls_to_zero():
    schedule = Schedule(steps=100, batch_size=1, learning_rate=2.0, warmup_steps=4)
    assert schedule.learning_rate_at(0) == 0.5
    assert schedule.learning_rate_at(2) == pytest.approx(1.5 * (1 + math.cos(0.02 * math.pi)) / 2)
    assert schedule.learning_rate_at(3) == pytest.approx(1 + math.cos(0.03 * math.pi))
    assert schedule.learning_rate_at(50) == pytest.approx(1.0)
    assert schedule.learning_rate_at(75) == pytest.approx(1 - math.sqrt(0.5))
    assert 0 < schedule.learning_rate_at(99) < 1e-3
    assert Schedule(steps=9, batch_size=1, warmup_steps=0).learning_rate_at(0) == 1.0e-3


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_a_constant_gradient_moves_a_weight_by_the_rate(weight_decay, tmp_path):
    # AdamW with gradient 1 throughout:  w <- (1 - rate weight_decay) w - rate
    schedule = Schedule(20, 1, 0.1, warmup_steps=3, weight_decay=weight_decay, ema=0.8)
    net, seen = Scalar(2.0), []

    def loss(net, rng):
        seen.append(net.w.item())
        return net.w.sum()

    weights, curve = train(net, loss, schedule, WHO, tmp_path / "s.state", {})
    w, path = 2.0, [2.0]
    for n in range(20):
        w = (1 - schedule.learning_rate_at(n) * weight_decay) * w - schedule.learning_rate_at(n)
        path.append(w)
    np.testing.assert_allclose([*seen, net.w.item()], path, atol=1e-5)
    np.testing.assert_allclose(curve["loss"], path[:-1], atol=1e-5)
    # a_20 = sum_n (1 - d_n) prod_{m > n} d_m  w_{n+1}  +  prod d_m  w_0
    decay = np.array([min(0.8, (n + 1) / (n + 10)) for n in range(20)])
    after = np.append(np.cumprod(decay[::-1])[::-1], 1.0)
    average = after[0] * path[0] + ((1 - decay) * after[1:] * path[1:]).sum()
    np.testing.assert_allclose(weights["w"], [average], atol=1e-5)
    assert abs(average - w) > 0.01  # the average is returned, not the weights


def test_the_curve_counts_images(tmp_path):
    _, curve = fit(tmp_path / "s.state")
    assert list(curve) == ["step", "images", "loss"]
    assert curve["step"].tolist() == list(range(1, 31))
    assert curve["images"].tolist() == [4 * n for n in range(1, 31)]
    assert curve["loss"].iloc[-5:].mean() < 0.8 * curve["loss"].iloc[:5].mean()


def test_a_noise_batch_has_rows_noise_and_times_of_the_right_laws():
    rows, eps, t = noise_batch(3, (2,), 6000, np.random.default_rng(0))
    rows = torch.from_numpy(rows)
    counts = rows.bincount(minlength=3)
    assert len(counts) == 3 and (counts - 2000).abs().max() < 150
    assert eps.shape == (6000, 2) and eps.dtype == t.dtype == torch.float32
    assert eps.mean().abs() < 0.03 and (eps.var() - 1).abs() < 0.03
    assert 0 <= t.min() and t.max() < 1 and t.shape == (6000,)
    assert (t.mean() - 0.5).abs() < 0.02 and (t.var() - 1 / 12).abs() < 0.005
    correlation = torch.corrcoef(torch.stack([rows.float(), eps[:, 0], t]))
    assert correlation.fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "training wants steps and batch_size >= 1, got 0 and 4"),
        ({"batch_size": 0}, "training wants steps and batch_size >= 1, got 9 and 0"),
        ({"ema": 1.0}, r"training wants ema in \[0, 1\), got 1.0"),
        ({"learning_rate": 0.0}, "training wants learning_rate > 0, got 0.0"),
        ({"learning_rate": math.nan}, "training wants learning_rate > 0, got nan"),
    ],
)
def test_a_schedule_that_cannot_run_is_refused(options, message):
    with refused(message):
        Schedule(**({"steps": 9, "batch_size": 4} | options))
