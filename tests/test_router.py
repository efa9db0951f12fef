"""The router stage: what is learned is the posterior, what is reported is what it is worth."""

import numpy as np
import pytest
import torch
from stages import content, make_data, refused, run

from routing import choices, models, router, seeds, store
from routing.router import OBJECTIVES, TABLE, calibration_error, cluster_cross_entropy, evaluate
from routing.routers import ROUTERS

LEARNED = {"name": "learned", "objective": "cluster", "steps": 5, "batch_size": 8}
TINY = LEARNED | {"width": 16, "depth": 1, "num_heads": 2, "warmup_steps": 3}
MEAN = 0.25


def spec(kind, num_experts=2):
    names = {"router_name": "learned", "partition": "p", "num_experts": num_experts}
    return {"seed": 7, "router": kind} | names


@pytest.fixture(scope="module")
def two_points(tmp_path_factory):
    """Clusters of one image each: constant -MEAN, three times as often as constant +MEAN."""
    clusters = np.arange(80) % 4 == 0
    stored = np.where(clusters, MEAN, -MEAN)[:, None, None, None].astype(np.float32)
    stored = np.broadcast_to(stored, (80, 1, 4, 4)).copy()
    folder = tmp_path_factory.mktemp("two")
    return make_data(folder, stored, np.arange(80) < 60, clusters=clusters)


@pytest.fixture(scope="module")
def trained(two_points, tmp_path_factory):
    kind = TINY | {"steps": 250, "batch_size": 64, "learning_rate": 3e-3, "ema": 0.95}
    return run("router", tmp_path_factory.mktemp("router"), spec(kind), **two_points)


def network(files):
    path = files["weights"]
    return models.load(store.read_arrays(path), store.read_provenance(path))


def test_the_tables_are_complete():
    assert TABLE.keys() == ROUTERS.keys() | {"learned"}
    assert OBJECTIVES == {"cluster": cluster_cross_entropy}
    assert TABLE["learned"].learned and not any(kind.learned for kind in ROUTERS.values())
    with refused("routers.x.objective: .* 'cluster'.*, got 'clusters'"):
        choices.build(TABLE, LEARNED | {"objective": "clusters"}, "routers.x")


def test_the_learned_posterior_is_the_exact_one(trained, rng):
    # x_t = (1 - t) m_k + t eps :  log p_1 / p_0 = log 1/3 + 2 (1 - t) MEAN sum(x_t) / t^2
    net, t = network(trained), torch.linspace(0.3, 1.0, 400)
    cluster = (torch.rand(400, generator=rng) < 0.25).float()
    x0 = (MEAN * (2 * cluster - 1))[:, None, None, None].expand(-1, 1, 4, 4)
    eps = torch.randn(400, 1, 4, 4, generator=rng)
    time = t[:, None, None, None]
    x = (1 - time) * x0 + time * eps
    odds = np.log(1 / 3) + 2 * (1 - t) * MEAN * x.sum((1, 2, 3)) / t**2
    p = net(x, t).softmax(1)[:, 1]
    assert (p - odds.sigmoid()).abs().mean() < 0.05
    assert 0.1 < odds.sigmoid().std()  # not a constant


def test_at_pure_noise_the_posterior_is_the_prior(trained, rng):
    x = torch.randn(300, 1, 4, 4, generator=rng)
    p = network(trained)(x, torch.ones(300)).softmax(1)
    assert (p.mean(0) - torch.tensor([0.75, 0.25])).abs().max() < 0.08


def test_the_report_is_of_the_held_out_images(trained):
    report = store.read_table(trained["report"])
    assert list(report) == ["t_low", "t_high", "accuracy", "nll", "ece", "num_states"]
    np.testing.assert_allclose(report["t_low"], np.arange(10) / 10)
    np.testing.assert_allclose(report["t_high"], np.arange(1, 11) / 10)
    assert (report["num_states"] == 20 * 8).all()
    assert (report["accuracy"][:3] > 0.97).all() and (report["nll"][:3] < 0.1).all()
    assert report["accuracy"][9] > 0.6 and 0.4 < report["nll"][9] < 0.75
    assert report["ece"].between(0, 0.2).all()


def test_the_cross_entropy_is_that_of_a_loop(rng):
    logits = torch.randn(6, 3, generator=rng)
    cluster = torch.tensor([0, 2, 1, 1, 0, 2])
    net = torch.nn.Identity()
    net.forward = lambda x, t: logits
    found = cluster_cross_entropy(net, torch.zeros(6), torch.zeros(6), cluster)
    terms = [-(z.exp() / z.exp().sum())[k].log() for z, k in zip(logits, cluster, strict=True)]
    torch.testing.assert_close(found, sum(terms) / 6)


class Told(torch.nn.Module):
    """Logits (0, log 4) for all; remembers the states it was asked about."""

    def __init__(self):
        super().__init__()
        self.x, self.t = [], []

    def forward(self, x, t):
        self.x.append(x)
        self.t.append(t)
        return torch.tensor([0.0, np.log(4)]).expand(len(x), 2).float()


def test_the_evaluation_of_a_router_that_always_says_the_same():
    net, clusters = Told(), np.array([1, 1, 1, 0])
    report = evaluate(net, np.full((4, 1, 4, 4), 5.0, np.float32), clusters, root=3)
    np.testing.assert_allclose(report["accuracy"], 0.75)
    np.testing.assert_allclose(report["nll"], -(0.75 * np.log(0.8) + 0.25 * np.log(0.2)))
    np.testing.assert_allclose(report["ece"], 0.05, atol=1e-6)
    for b, (x, t) in enumerate(zip(net.x, net.t, strict=True)):
        assert len(t) == 32 and b / 10 <= t.min() and t.max() <= (b + 1) / 10
        assert t.max() - t.min() > 0.05
        eps = (x - 5 * (1 - t[:, None, None, None])) / t[:, None, None, None].clamp_min(1e-3)
        assert abs(eps.std() - 1) < 0.15 or b == 0
    assert report.equals(evaluate(Told(), np.full((4, 1, 4, 4), 5.0, np.float32), clusters, 3))


def test_the_calibration_error_by_hand():
    confidence = torch.tensor([0.62, 0.68, 0.95, 1.0, 0.91], dtype=torch.float64)
    right = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    # bin 0.6-0.7: |1 - 0.65| of 2, too shy; bin 0.9-1.0: |2/3 - 0.9533| of 3, too sure
    expected = 2 / 5 * abs(1 - 0.65) + 3 / 5 * abs(2 / 3 - 2.86 / 3)
    assert calibration_error(confidence, right) == pytest.approx(expected)
    assert calibration_error(torch.ones(4).double(), torch.ones(4).double()) == 0
    assert calibration_error(confidence, right, num_bins=1) == pytest.approx(abs(4 - 4.16) / 5)


def test_held_out_images_are_never_trained_on(two_points, tmp_path, monkeypatch):
    stored = store.read_arrays(two_points["samples"])["samples"].copy()
    clusters = store.read_table(two_points["assignments"])["cluster"].to_numpy().copy()
    stored[60:] = np.nan
    clusters[60:] = 1 - clusters[60:]
    made = make_data(tmp_path, stored, np.arange(80) < 60, clusters=clusters)
    first = run("router", tmp_path / "a", spec(TINY), **two_points)
    asked = []
    monkeypatch.setattr(router, "evaluate", lambda *a: asked.append(a) or _report(a))
    second = run("router", tmp_path / "b", spec(TINY), **made)
    assert content(first["weights"]) == content(second["weights"])
    assert content(first["loss"]) == content(second["loss"])
    ((_, values, targets, _),) = asked
    assert np.isnan(values).all() and np.array_equal(targets, clusters[60:])


def _report(arguments):
    return store.pd.DataFrame({"num_states": [len(arguments[1])]})


def test_the_first_loss_is_that_of_a_network_that_says_nothing(two_points, tmp_path):
    files = run("router", tmp_path, spec(TINY, num_experts=3), **two_points)
    losses = store.read_table(files["loss"])
    assert losses["loss"][0] == pytest.approx(np.log(3), rel=1e-5)
    assert losses["images"].tolist() == [8, 16, 24, 32, 40]
    assert not list(tmp_path.glob("*.state"))


def test_a_router_draws_other_batches_than_the_experts():
    ours = seeds.stream(7, "batches", seeds.number("p"), seeds.number("cluster"), 0, 0)
    theirs = seeds.stream(7, "batches", seeds.number("p"), 0, 0, 0)
    assert ours.random() != theirs.random()


def test_points_are_refused(tmp_path):
    points = make_data(tmp_path, np.zeros((4, 2), np.float32), np.arange(4) < 3)
    with refused("a transformer wants square images"):
        run("router", tmp_path, spec(TINY), **points)
