import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from routing.flow import paths
from routing.flow.exact_worlds import GaussianMixture
from routing.flow.samplers import SAMPLERS, Ancestral, DPMpp2M, Euler, Heun

# name: interval and steps on which the declared order is measured
ORDERS = {
    "euler": ((1.0, 0.0), (32, 64, 128, 256)),
    "heun": ((1.0, 0.0), (16, 32, 64, 128)),
    "rk4": ((1.0, 0.0), (8, 16, 32, 64)),
    "dpmpp_2m": ((0.95, 0.05), (32, 64, 128, 256)),
}
WEAK_ORDERS = {"ancestral": (64, 128, 256, 512)}


def test_the_list_is_the_table():
    assert ORDERS.keys() | WEAK_ORDERS.keys() == SAMPLERS.keys()
    for name, kind in SAMPLERS.items():
        assert kind.is_stochastic == (name in WEAK_ORDERS)


def oracle():
    means = torch.tensor([[-1.5, 0.5], [1.0, 1.5], [1.5, -1.0], [-0.5, -1.5]])
    g = torch.Generator().manual_seed(1)
    roots = 0.4 * torch.randn(4, 2, 2, generator=g, dtype=torch.float64)
    covs = roots @ roots.mT + 0.25 * torch.eye(2, dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.1, 0.2, 0.3, 0.4]).double(), means.double(), covs)


def oracle_velocity():
    mixture = oracle()
    return lambda x, t, step: mixture.velocity(x.double(), t.double()).to(x.dtype)


def polynomial(x, t, step):
    """Elementwise, of + and * alone, so that the same numbers come at any batch size."""
    t = paths.append_dims(t, x)
    return x * (0.5 - t) - 0.3 * x * x + t


def drawn(x, num_steps):
    """Normals by step for every row of x; what deterministic samplers are given as well."""
    g = torch.Generator().manual_seed(5)
    return torch.randn(num_steps, *x.shape, generator=g, dtype=x.dtype)


def run(sampler, velocity, x, times=None):
    return sampler(velocity, x, times, drawn(x, sampler.num_steps).__getitem__)


def reference(velocity, x, start, end):
    def f(t, y):
        y = torch.from_numpy(y).reshape(x.shape)
        return velocity(y, y.new_full((len(y),), t), 0).numpy().ravel()

    kwargs = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-13}
    y = solve_ivp(f, (start, end), x.numpy().ravel(), **kwargs).y[:, -1]
    return torch.from_numpy(y).reshape(x.shape)


def errors(name, interval, steps, rng):
    velocity = oracle_velocity()
    x = torch.randn(16, 2, generator=rng, dtype=torch.float64)
    exact = reference(velocity, x, *interval)
    grids = [torch.linspace(*interval, n + 1, dtype=torch.float64) for n in steps]
    ends = [SAMPLERS[name](len(g) - 1)(velocity, x, g) for g in grids]
    return np.array([(end - exact).norm(dim=1).mean().item() for end in ends])


def slope(errors, steps):
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


class Recorder:
    """A velocity that remembers what it was asked."""

    def __init__(self, velocity):
        self.velocity, self.x, self.t, self.steps = velocity, [], [], []

    def __call__(self, x, t, step):
        assert t.shape == x.shape[:1] and t.dtype == x.dtype
        assert (t == t[0]).all() and type(step) is int
        self.x.append(x), self.t.append(t[0].item()), self.steps.append(step)
        return self.velocity(x, t, step)


# All samplers


@pytest.mark.parametrize("name", ORDERS)
def test_measured_order_is_the_declared_one(name, rng):
    interval, steps = ORDERS[name]
    measured = slope(errors(name, interval, steps, rng), steps)
    assert measured == pytest.approx(SAMPLERS[name].order, abs=0.2)


@pytest.mark.parametrize("name", ORDERS)
def test_default_grid_reaches_the_data(name, rng):
    """From noise at t = 1 to t = 0 on a shifted grid: the exact flow map."""
    velocity = oracle_velocity()
    x = torch.randn(8, 2, generator=rng, dtype=torch.float64)
    num_steps = 20 if name == "rk4" else 400
    got = SAMPLERS[name](num_steps, shift=2.0)(velocity, x)
    tolerance = {"euler": 2e-2, "heun": 2e-5, "rk4": 1e-5, "dpmpp_2m": 5e-4}[name]
    torch.testing.assert_close(got, reference(velocity, x, 1, 0), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", SAMPLERS)
def test_num_evaluations_is_counted(name, rng):
    recorder = Recorder(polynomial)
    sampler = SAMPLERS[name](7)
    run(sampler, recorder, torch.randn(3, 2, generator=rng))
    assert len(recorder.t) == sampler.num_evaluations == 7 * sampler.evaluations_per_step
    assert recorder.steps == [i for i in range(7) for _ in range(sampler.evaluations_per_step)]


@pytest.mark.parametrize(
    "name, stages",
    [
        ("euler", [1, 0.75]),
        ("heun", [1, 0.75, 0.75, 0]),
        ("rk4", [1, 0.875, 0.875, 0.75, 0.75, 0.375, 0.375, 0]),
        ("dpmpp_2m", [1, 0.75]),
        ("ancestral", [1, 0.75]),
    ],
)
def test_where_the_stages_are(name, stages, rng):
    recorder = Recorder(polynomial)
    x = torch.randn(3, 2, generator=rng, dtype=torch.float64)
    run(SAMPLERS[name](2, shift=3.0), recorder, x)
    assert recorder.t == stages


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sample_does_not_see_its_batch(name, rng):
    x = torch.randn(33, 3, generator=rng)
    sampler = SAMPLERS[name](6)
    z = drawn(x, 6)
    alone = [sampler(polynomial, x[[i]], None, z[:, [i]].__getitem__) for i in range(33)]
    assert torch.equal(run(sampler, polynomial, x), torch.cat(alone))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_are_points_and_keep_their_dtype(name, dtype, rng):
    x = torch.randn(5, 2, 3, 4, generator=rng, dtype=dtype)
    before = x.clone()
    sampler = SAMPLERS[name](6)
    y = run(sampler, polynomial, x)
    assert y.shape == x.shape and y.dtype == dtype
    assert torch.equal(y.flatten(1), run(sampler, polynomial, x.flatten(1)))
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", SAMPLERS)
def test_gradients_flow(name, rng):
    x = torch.randn(3, 2, generator=rng, dtype=torch.float64, requires_grad=True)
    sampler = SAMPLERS[name](4)
    assert torch.autograd.gradcheck(lambda x: run(sampler, polynomial, x), x)


@pytest.mark.parametrize("name", ORDERS)
def test_one_data_point_is_hit_exactly(name, rng):
    """x_0 = c alone gives v = (x - c) / t; lines are straight and every method is exact."""
    c = torch.tensor([2.0, -1.0], dtype=torch.float64)
    x = torch.randn(4, 2, generator=rng, dtype=torch.float64)
    times = torch.tensor([1, 0.6, 0.5, 0.2], dtype=torch.float64)
    y = SAMPLERS[name](3)(lambda x, t, step: (x - c) / t[:, None], x, times)
    torch.testing.assert_close(y, paths.add_noise(c.expand(4, 2), x, times[-1].expand(4)))


@pytest.mark.parametrize("num_steps", [1, 3, 50])
@pytest.mark.parametrize("shift", [0.3, 1.0, 1.1, 3.0, 7.3])
def test_grid(num_steps, shift):
    times = Euler(num_steps, shift).times()
    t = 1 - torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    assert len(times) == num_steps + 1 and times.dtype == torch.float64
    assert times[0] == 1 and times[-1] == 0 and (times.diff() < 0).all()
    torch.testing.assert_close(times, shift * t / (1 + (shift - 1) * t))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda s: s(0), "num_steps must be >= 1"),
        (lambda s: s(4, shift=0.0), "shift must be > 0"),
        (lambda s: s(4, shift=math.inf), "shift must be > 0"),
        (lambda s: s(4, shift=math.nan), "shift must be > 0"),
    ],
)
@pytest.mark.parametrize("name", SAMPLERS)
def test_bad_options_are_refused(name, make, message):
    with pytest.raises(ValueError, match=message):
        make(SAMPLERS[name])


@pytest.mark.parametrize(
    "times, message",
    [
        ([1, 0.5], "num_steps \\+ 1 = 3"),
        ([0, 0.5, 1], "decrease strictly"),
        ([1, 0.5, 0.5], "decrease strictly"),
        ([1.1, 0.5, 0], "decrease strictly"),
        ([1, 0.5, -0.1], "decrease strictly"),
        ([1, math.nan, 0], "decrease strictly"),
    ],
)
@pytest.mark.parametrize("name", SAMPLERS)
def test_bad_times_are_refused(name, times, message, rng):
    with pytest.raises(ValueError, match=message):
        run(SAMPLERS[name](2), polynomial, torch.randn(2, 2, generator=rng), torch.tensor(times))


# Stochastic samplers: the law of the end, by linearity, without sampling error


def law(sampler, velocity, dim, times=None):
    """Mean and variance of every coordinate, for velocities affine in it, from N(0, 1).

    The end is  c + A x_1 + sum_i B_i z_i : row 0 is c, rows 1 .. N + 1 have one unit input each.
    """
    units = torch.eye(sampler.num_steps + 2, dtype=torch.float64)[:, :, None].expand(-1, -1, dim)
    ends = sampler(velocity, units[1], times, lambda step: units[2 + step])
    return ends[0], (ends[1:] - ends[0]).square().sum(0)


MEANS, VARIANCES = torch.tensor([[2.0, -1.0, 0.5], [0.25, 1.0, 9.0]], dtype=torch.float64)


def gaussian_velocity(x, t, step):
    """The data are N(mean, variance), a world per coordinate."""
    t = t[:, None]
    slope = (t - (1 - t) * VARIANCES) / ((1 - t) ** 2 * VARIANCES + t**2)
    return slope * (x - (1 - t) * MEANS) - MEANS


@pytest.mark.parametrize("shift", [1.0, 2.0])
@pytest.mark.parametrize("name", WEAK_ORDERS)
def test_measured_weak_order_is_the_declared_one(name, shift):
    steps, e = WEAK_ORDERS[name], []
    for n in steps:
        mean, variance = law(SAMPLERS[name](n, shift), gaussian_velocity, 3)
        torch.testing.assert_close(mean, MEANS, rtol=0, atol=1e-12)  # exact at any N
        e.append((variance - VARIANCES).abs().numpy())
    for errors in np.array(e).T:
        assert slope(errors, steps) == pytest.approx(SAMPLERS[name].order, abs=0.2)
    assert max(e[-1] / VARIANCES.numpy()) < 0.03


@pytest.mark.parametrize("times", [[1, 0.6, 0.5, 0.2], [1, 0.9, 0.01, 0], [1, 0.3, 0.2, 0.1]])
@pytest.mark.parametrize("name", WEAK_ORDERS)
def test_the_law_of_one_data_point_is_exact(name, times):
    """x_0 = c alone gives v = (x - c) / t, and x_t ~ N((1 - t) c, t^2) after any steps."""
    times = torch.tensor(times, dtype=torch.float64)
    c, t = MEANS[:2], times[-1]
    mean, variance = law(SAMPLERS[name](3), lambda x, t, step: (x - c) / t[:, None], 2, times)
    torch.testing.assert_close(mean, (1 - t) * c)
    torch.testing.assert_close(variance, t.square().expand(2))


def test_ancestral_draws_with_the_noise_of_the_step(rng):
    recorder, x = Recorder(polynomial), torch.randn(4, 2, generator=rng, dtype=torch.float64)
    z, times = drawn(x, 3), torch.tensor([1.0, 0.7, 0.3, 0.0], dtype=torch.float64)
    requested = []
    end = Ancestral(3)(recorder, x, times, lambda step: requested.append(step) or z[step])
    assert requested == [0, 1, 2]
    for i, after in enumerate([*recorder.x[1:], end]):
        s, t = (x.new_full((4,), time.item()) for time in times[i : i + 2])
        before = recorder.x[i]
        mean, std = paths.reverse_transition(before, polynomial(before, s, i), s, t)
        torch.testing.assert_close(after, mean + std[:, None] * z[i])


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_is_for_stochastic_samplers(name, rng):
    x, sampler = torch.randn(3, 2, generator=rng), SAMPLERS[name](4)
    if sampler.is_stochastic:
        with pytest.raises(ValueError, match=f"{name} needs noise.*got none") as refused:
            sampler(polynomial, x)
        assert "\n" not in str(refused.value)
    else:
        assert torch.equal(run(sampler, polynomial, x), sampler(polynomial, x))


# DPM-Solver++(2M)


def test_dpmpp_on_the_whole_interval_loses_a_logarithm(rng):
    """Documented: the error is of order N^-2 log N, and which end it starts at hardly matters."""
    steps = np.array([64, 128, 256, 512])
    e = errors("dpmpp_2m", (1.0, 0.0), steps, rng)
    assert 1.7 < slope(e, steps) < 1.85
    constant = e * steps**2 / np.log(steps)
    assert constant.max() / constant.min() < 1.2


def test_dpmpp_second_order_step_is_that_of_the_paper(rng):
    recorder = Recorder(polynomial)
    x = torch.randn(4, 2, generator=rng, dtype=torch.float64)
    DPMpp2M(3)(recorder, x, torch.tensor([0.9, 0.7, 0.4, 0.1], dtype=torch.float64))
    lam = [math.log((1 - t) / t) for t in recorder.t]
    requested = list(zip(recorder.x, recorder.t, strict=True))[:2]
    m1, m0 = (x - t * polynomial(x, x.new_full((4,), t), 0) for x, t in requested)
    h = lam[2] - lam[1]
    D = m0 + 0.5 * h / (lam[1] - lam[0]) * (m0 - m1)
    expected = 0.4 / 0.7 * recorder.x[1] - 0.6 * (math.exp(-h) - 1) * D
    torch.testing.assert_close(recorder.x[2], expected)


def test_dpmpp_is_of_first_order_next_to_the_ends(rng):
    velocity = oracle_velocity()
    x = torch.randn(8, 2, generator=rng, dtype=torch.float64)

    def apart(grid):
        grid = torch.tensor(grid, dtype=torch.float64)
        n = len(grid) - 1
        return (DPMpp2M(n)(velocity, x, grid) - Euler(n)(velocity, x, grid)).abs().max()

    assert apart([1, 0]) < 1e-14  # x_0 = x_theta
    assert apart([1, 0.7, 0.4]) < 1e-14  # the history began at lambda = -inf
    assert apart([1, 0.5, 0]) < 1e-14
    assert apart([0.9, 0.6, 0]) < 1e-14  # to lambda = inf
    assert apart([0.9, 0.6, 0.01]) > 1e-2
    assert apart([1, 0.7, 0.4, 0.2]) > 1e-2


class Switching:
    """Two experts with different data; `who[step]` says which one each sample asks."""

    def __init__(self, who):
        self.who, self.requested = who, []

    def __call__(self, x, t, step):
        self.requested.append(step)
        target = torch.where(self.who[step], 2.0, -1.0).to(x).reshape(-1, *[1] * (x.ndim - 1))
        return x - target - 0.2 * x * x

    def expert_set_changed(self):
        step = self.requested[-1]
        return self.who[step] != self.who[step - 1]


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_dpmpp_reset_drops_the_history_of_samples_that_switch(shape, rng):
    x = torch.randn(3, *shape, generator=rng, dtype=torch.float64)
    never, always = torch.zeros(6, dtype=bool), torch.arange(6) % 2 == 0
    at_three = torch.arange(6) >= 3
    who = torch.stack([never, always, at_three], 1)
    times = torch.linspace(0.9, 0.1, 7, dtype=torch.float64)
    recorders = {h: Recorder(Switching(who)) for h in ("mix", "reset")}
    for history, recorder in recorders.items():
        recorder.expert_set_changed = recorder.velocity.expert_set_changed
        DPMpp2M(6, history=history)(recorder, x, times)
    mix, reset = (torch.stack(recorders[h].x) for h in ("mix", "reset"))
    euler = Recorder(Switching(who))
    Euler(6)(euler, x, times)
    assert torch.equal(reset[:, 0], mix[:, 0])  # never: the history stays
    torch.testing.assert_close(reset[:, 1], torch.stack(euler.x)[:, 1])  # always: first order
    assert torch.equal(reset[:4, 2], mix[:4, 2])  # once: all as before up to the switch,
    s, t = times[3].item(), times[4].item()
    x3 = reset[3, 2:]
    first = x3 + (t - s) * Switching(who[:, 2:])(x3, x3.new_full((1,), s), 3)
    torch.testing.assert_close(reset[4, 2:], first)  # there a step of first order,
    assert (reset[4, 2] - mix[4, 2]).abs().max() > 0.05
    x4, (s3, s, t) = reset[4, 2:], times[3:6].tolist()
    m0, m1 = (
        x - time * Switching(who[:, 2:])(x, None, i) for x, time, i in [(x4, s, 4), (x3, s3, 3)]
    )
    lam3, lam_s, lam_t = (math.log((1 - time) / time) for time in (s3, s, t))
    D = m0 + 0.5 * (lam_t - lam_s) / (lam_s - lam3) * (m0 - m1)
    second = t / s * x4 - (1 - t) * math.expm1(lam_s - lam_t) * D
    torch.testing.assert_close(reset[5, 2:], second)  # and the history goes on from the switch


def test_dpmpp_reset_needs_a_velocity_that_knows(rng):
    x = torch.randn(2, 2, generator=rng)
    with pytest.raises(ValueError, match="expert_set_changed\\(\\).*'mix'"):
        DPMpp2M(2, history="reset")(polynomial, x)
    with pytest.raises(ValueError, match="'mix' or 'reset', got 'drop'"):
        DPMpp2M(2, history="drop")


# Agreement with diffusers, and where it is not right. A test below that fails after an update
# of diffusers may be good news: read what changed.


def run_diffusers(scheduler, velocity, x, times):
    """All states of a scheduler, its model asked at `times` (one per call)."""
    states = [x]
    for timestep, t in zip(scheduler.timesteps, times, strict=True):
        v = velocity(states[-1], x.new_full((len(x),), t.item()), 0)
        states.append(scheduler.step(v, timestep, states[-1]).prev_sample)
    return states


def run_ours(sampler, velocity, x, times):
    """All states at the beginning of a step, and the last."""
    recorder = Recorder(velocity)
    end = sampler(recorder, x, times.double())
    return recorder.x[:: sampler.evaluations_per_step] + [end]


def assert_same(ours, theirs):
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_steps, shift", [(10, 1.0), (30, 3.0)])
def test_euler_agrees_with_diffusers(num_steps, shift, rng):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(num_steps)
    grid, x = scheduler.sigmas, torch.randn(8, 2, generator=rng)
    theirs = run_diffusers(scheduler, oracle_velocity(), x, grid[:-1])
    assert_same(run_ours(Euler(num_steps), oracle_velocity(), x, grid), theirs)


def test_heun_agrees_with_diffusers_up_to_its_last_step(rng):
    from diffusers import FlowMatchHeunDiscreteScheduler

    # 4 training steps, so that the last step of diffusers (here 0.25 -> 0) can be seen at all.
    scheduler = FlowMatchHeunDiscreteScheduler(num_train_timesteps=4)
    scheduler.set_timesteps(8)
    assert len(scheduler.timesteps) == 2 * 8 - 1  # the last step is Euler
    grid = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1::2]])
    x, velocity = torch.randn(8, 2, generator=rng), oracle_velocity()
    theirs = run_diffusers(scheduler, velocity, x, scheduler.timesteps / 4)
    theirs = theirs[::2] + theirs[-1:]
    ours = run_ours(Heun(8), velocity, x, grid)
    assert_same(ours[:-1], theirs[:-1])
    assert_same([Euler(1)(velocity, ours[-2], torch.tensor([0.25, 0.0]))], theirs[-1:])
    exact = reference(velocity, ours[-2].double(), 0.25, 0)
    assert (theirs[-1] - exact).norm() > 2 * (ours[-1] - exact).norm()


@pytest.mark.parametrize("num_steps, shift", [(10, 1.0), (30, 3.0)])
def test_dpmpp_agrees_with_diffusers(num_steps, shift, rng):
    scheduler = dpmpp_of_diffusers(num_steps, shift)
    grid, x = scheduler.sigmas, torch.randn(8, 2, generator=rng)
    theirs = run_diffusers(scheduler, oracle_velocity(), x, grid[:-1])
    assert_same(run_ours(DPMpp2M(num_steps), oracle_velocity(), x, grid), theirs)


def test_dpmpp_agrees_with_diffusers_when_both_begin_at_noise(rng):
    """No clipping is needed: in IEEE arithmetic lambda = -inf gives the limits."""
    scheduler = dpmpp_of_diffusers(10, 1.0)
    scheduler.sigmas = DPMpp2M(10).times().float()
    grid, x = scheduler.sigmas, torch.randn(8, 2, generator=rng)
    theirs = run_diffusers(scheduler, oracle_velocity(), x, grid[:-1])
    assert_same(run_ours(DPMpp2M(10), oracle_velocity(), x, grid), theirs)


def dpmpp_of_diffusers(num_steps, shift):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(
        use_flow_sigmas=True,
        flow_shift=shift,
        prediction_type="flow_prediction",
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(num_steps)
    return scheduler


@pytest.mark.parametrize("name", ["Euler", "Heun"])
def test_diffusers_applies_the_shift_twice_at_the_data_end(name):
    """huggingface/diffusers#13243: 0.001, already shifted to 0.0030, is shifted once more."""
    import diffusers

    scheduler = getattr(diffusers, f"FlowMatch{name}DiscreteScheduler")(shift=3.0)
    scheduler.set_timesteps(20)
    once = 3 * 0.001 / (1 + 2 * 0.001)
    twice = 3 * once / (1 + 2 * once)
    assert scheduler.sigmas[-2].item() == pytest.approx(twice, rel=1e-4)
    assert twice > 2.9 * once


@pytest.mark.parametrize("name", ["Euler", "Heun"])
def test_diffusers_last_step_is_nearly_empty(name):
    """N steps are N - 1 steps of 1 / (N - 1) and one of 0.001; ours are N equal ones."""
    import diffusers

    scheduler = getattr(diffusers, f"FlowMatch{name}DiscreteScheduler")()
    scheduler.set_timesteps(20)
    assert scheduler.sigmas[-2:].tolist() == pytest.approx([0.001, 0])
    assert Euler(20).times()[-2:].tolist() == pytest.approx([0.05, 0])


def test_diffusers_dpmpp_asks_the_model_at_truncated_times():
    """And begins at 0.999, although it is given pure noise."""
    scheduler = dpmpp_of_diffusers(20, 1.0)
    assert scheduler.timesteps.dtype == torch.int64
    off = scheduler.sigmas[:-1] - scheduler.timesteps / 1000
    assert 5e-4 < off.abs().max() < 1e-3
    assert scheduler.sigmas[0].item() == pytest.approx(0.999)
