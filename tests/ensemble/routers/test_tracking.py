"""Routers that follow the trajectory, `confidence` and `density`, where answers are exact."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import worlds

from routing.ensemble.routers import Confidence, Density, Prediction
from routing.flow.conditions import Condition
from routing.flow.exact_worlds import GaussianMixture
from routing.flow.samplers import SAMPLERS

WORLD = GaussianMixture(
    torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
    torch.tensor([[-2.0, 0.0], [0.0, 3.0], [2.0, 0.0], [2.0, -2.0]], dtype=torch.float64),
    torch.tensor([[0.25, 0.05], [0.05, 0.4]], dtype=torch.float64).repeat(4, 1, 1),
)
CLUSTERS = {3: torch.tensor([0, 1, 2, 2]), 4: torch.arange(4)}
PRIOR = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def prior(num_experts):
    owner = CLUSTERS[num_experts]
    return torch.stack([WORLD.weights[owner == k].sum() for k in range(num_experts)])


def parts(num_experts):
    owner = CLUSTERS[num_experts]
    return [WORLD.restrict((owner == k).nonzero()[:, 0]) for k in range(num_experts)]


def divergence(field, x, t):
    x = x.detach().requires_grad_()
    v = field(x, t).sum(0)
    columns = [torch.autograd.grad(v[i], x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return sum(columns)


def ask(experts, x, t, reads="divergences"):
    """Velocities of all experts, and what else the router reads."""
    v = torch.stack([e.velocity(x, t) for e in experts], 1)
    if reads == "velocities":
        return v, None
    return v, torch.stack([divergence(e.velocity, x, t) for e in experts], 1)


def distances(router, sampler, num_experts, num=200):
    """Total variation of the router's posterior from the true one, [calls samples], the
    ensemble being steered by the router itself."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(num, 2, generator=g, dtype=torch.float64)
    experts, carry, found = parts(num_experts), router.start(x, None), []

    def velocity(x, t, step):
        nonlocal carry
        p = router.posterior(x, t, carry)
        velocities, divergences = ask(experts, x, t, router.reads)
        v = (p[..., None] * velocities).sum(1)
        carry = router.observe(x, t, Prediction(v, velocities, divergences), carry)
        exact = WORLD.cluster_posterior(x, t, CLUSTERS[num_experts], num_experts)
        found.append((p - exact).abs().sum(1) / 2)
        return v

    z = torch.randn(sampler.num_steps, num, 2, generator=g, dtype=torch.float64)
    sampler(velocity, x, None, z.__getitem__)
    return torch.stack(found)


def slope(errors, steps):
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


@pytest.mark.parametrize("num_experts", [3, 4])
@pytest.mark.parametrize("num_steps, bound", [(25, 0.008), (100, 0.003)])
def test_confidence_reaches_the_posterior_along_the_ancestral_path(num_steps, bound, num_experts):
    router = Confidence(prior(num_experts), 1.0)
    found = distances(router, SAMPLERS["ancestral"](num_steps), num_experts)
    assert found[0].max() < 1e-15  # the prior is right at t = 1
    assert found.mean() < bound and found.mean(1).max() < 3 * bound


@pytest.mark.parametrize("num_experts", [3, 4])
@pytest.mark.parametrize(
    "name, num_steps, bound",
    [("euler", 40, 1e-3), ("heun", 20, 2e-3), ("rk4", 10, 3e-3), ("dpmpp_2m", 40, 1e-3)],
)
def test_density_reaches_the_posterior_along_the_ode(name, num_steps, bound, num_experts):
    """Heun and RK4 ask at states off the solution, and twice at one time."""
    found = distances(Density(prior(num_experts)), SAMPLERS[name](num_steps), num_experts)
    assert found[0].max() < 1e-15
    assert found.mean() < bound and found.mean(1).max() < 4 * bound


def test_density_holds_along_the_sde_too():
    found = distances(Density(prior(3)), SAMPLERS["ancestral"](100), 3)
    assert found.mean() < 0.005


@pytest.mark.parametrize(
    "router, name, order, steps",
    [
        (Confidence(prior(3), 1.0), "ancestral", 0.5, (100, 200, 400)),
        (Density(prior(3)), "euler", 2, (15, 30, 60)),
        (Density(prior(3)), "dpmpp_2m", 2, (15, 30, 60)),
    ],
    ids=["confidence", "density-euler", "density-dpmpp_2m"],
)
def test_measured_orders_are_the_declared_ones(router, name, order, steps):
    e = [distances(router, SAMPLERS[name](n), 3, 400).mean().item() for n in steps]
    assert slope(e, steps) == pytest.approx(order, abs=0.2)


def test_density_does_not_see_the_way():
    """From (x, 1) to (y, 0.3), straight or by detours in space at standing and rising times."""
    g = torch.Generator().manual_seed(1)
    x, y, z = torch.randn(3, 8, 2, generator=g, dtype=torch.float64)
    y, experts, router = y * 2, parts(3), Density(prior(3))
    corners = [(x, 1.0), (z, 0.8), (y, 0.8), (z, 0.9), (y, 0.3)]
    carry, num = router.start(x, None), 30
    for (a, s), (b, t) in zip(corners, corners[1:], strict=False):
        for i in range(num + 1):
            at, time = a + (b - a) * i / num, x.new_full((8,), s + (t - s) * i / num)
            v, divergences = ask(experts, at, time)
            carry = router.observe(at, time, Prediction(v[:, 0], v, divergences), carry)
    p = router.posterior(y, time, carry)
    exact = WORLD.cluster_posterior(y, time, CLUSTERS[3], 3)
    torch.testing.assert_close(p, exact, rtol=0, atol=2e-3)


# What they compute, call by call


def random_prediction(shape, rng):
    v, other, far = torch.randn(3, *shape, generator=rng, dtype=torch.float64)
    divergences = torch.randn(shape[0], 3, generator=rng, dtype=torch.float64)
    return Prediction(v, torch.stack([v, other, 2 * far], 1), divergences)


def at(t, batch):
    return torch.full((batch,), t, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 2), (4, 2, 3, 1)])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_confidence_is_bayes_rule_written_out(shape, temperature, rng):
    router, times = Confidence(PRIOR, temperature), [1.0, 0.8, 0.5]
    xs = torch.randn(3, *shape, generator=rng, dtype=torch.float64)
    calls = [random_prediction(shape, rng) for _ in xs]
    carry = router.start(xs[0], None)
    for x, t, call in zip(xs[:2], times, calls, strict=False):
        carry = router.observe(x, at(t, len(x)), call, carry)
    p = router.posterior(xs[2], at(times[2], shape[0]), carry)
    for i in range(shape[0]):
        weights = PRIOR.tolist()
        for k in range(3):
            for j, (t, s) in enumerate([(1.0, 0.8), (0.8, 0.5)]):
                r = (1 - t) * s / ((1 - s) * t)
                var = s**2 * (1 - r**2)
                v, x = calls[j].velocities[i, k].flatten().tolist(), xs[j, i].flatten().tolist()
                for b, a, c in zip(xs[j + 1, i].flatten().tolist(), x, v, strict=True):
                    mean = (1 - s) * (a - t * c) + s * r * (a + (1 - t) * c)
                    weights[k] *= math.exp(-((b - mean) ** 2) / (2 * var * temperature))
        assert p[i].tolist() == pytest.approx([w / sum(weights) for w in weights], rel=1e-9)


def test_confidence_asked_and_told_go_by_the_same_numbers(rng):
    """What `posterior` says at a call is what `observe` keeps there, asked or not."""
    router, shape = Confidence(PRIOR, 2.0), (5, 2)
    x, y = torch.randn(2, *shape, generator=rng, dtype=torch.float64)
    carry = router.observe(x, at(1.0, 5), random_prediction(shape, rng), router.start(x, None))
    p = router.posterior(y, at(0.6, 5), carry)
    kept = router.observe(y, at(0.6, 5), random_prediction(shape, rng), carry).log_p
    torch.testing.assert_close(p, kept.softmax(1))


def test_a_step_to_the_data_tells_confidence_nothing(rng):
    router, shape = Confidence(PRIOR, 1.0), (5, 2)
    x, y, z = torch.randn(3, *shape, generator=rng, dtype=torch.float64)
    carry = router.observe(x, at(1.0, 5), random_prediction(shape, rng), router.start(x, None))
    carry = router.observe(y, at(0.5, 5), random_prediction(shape, rng), carry)
    p = router.posterior(z, at(0.0, 5), carry)
    torch.testing.assert_close(p, carry.log_p.softmax(1))


@pytest.mark.parametrize("s", [0.5, 0.6])
def test_confidence_refuses_times_that_do_not_fall(s, rng):
    router, x = Confidence(PRIOR, 1.0), torch.randn(5, 2, generator=rng, dtype=torch.float64)
    carry = router.observe(x, at(0.5, 5), random_prediction((5, 2), rng), router.start(x, None))
    message = f"times that fall from call to call, got {s} after 0.5"
    with pytest.raises(ValueError, match=message) as refused:
        router.posterior(x, at(s, 5), carry)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="got 0.5 after 0.5"):  # one sample is enough
        router.posterior(x, torch.tensor([0.1, 0.2, 0.5, 0.4, 0.3]).double(), carry)


@pytest.mark.parametrize("shape", [(5, 2), (4, 2, 3, 1)])
def test_density_along_the_velocity_is_that_of_superdiff(shape, rng):
    """Along dx = v dt:  d log q_k = (-div v_k + s_k . (v - v_k)) dt  by the left rule; and the
    trapezoidal rule once the slopes at the end are known."""
    router, batch, h = Density(PRIOR), shape[0], -0.3
    x = torch.randn(shape, generator=rng, dtype=torch.float64)
    first, second = random_prediction(shape, rng), random_prediction(shape, rng)
    carry = router.observe(x, at(0.9, batch), first, router.start(x, None))
    y = x + h * first.v
    p = router.posterior(y, at(0.6, batch), carry)

    def rate(call, x, t, v):
        v_k, spread = call.velocities.flatten(2), [v.flatten(1)[:, None], x.flatten(1)[:, None]]
        score = -(spread[1] + (1 - t) * v_k) / t
        return -call.divergences + (score * (spread[0] - v_k)).sum(2)

    left = h * rate(first, x, 0.9, first.v)
    torch.testing.assert_close(p, (PRIOR.log() + left).softmax(1))
    carry = router.observe(y, at(0.6, batch), second, carry)
    both = (left + h * rate(second, y, 0.6, first.v)) / 2
    torch.testing.assert_close(carry.log_p, PRIOR.log() + both)
    p = router.posterior(y + 0.1, at(0.6, batch), carry)  # time stands: scores alone
    score = -(y[:, None] + 0.4 * second.velocities) / 0.6
    torch.testing.assert_close(p, (PRIOR.log() + both + 0.1 * score.flatten(2).sum(2)).softmax(1))


def test_density_at_the_data_goes_by_the_slopes_before_it(rng):
    router, shape = Density(PRIOR), (5, 2)
    x, y = torch.randn(2, *shape, generator=rng, dtype=torch.float64)
    carry = router.observe(x, at(0.5, 5), random_prediction(shape, rng), router.start(x, None))
    p = router.posterior(y, at(0.0, 5), carry)
    carry = router.observe(y, at(0.0, 5), random_prediction(shape, rng), carry)
    torch.testing.assert_close(carry.log_p.softmax(1), p)


@pytest.mark.parametrize("kind", [Confidence, Density])
def test_an_empty_cluster_stays_empty(kind, rng):
    router = kind(torch.tensor([0.0, 0.4, 0.6], dtype=torch.float64))
    x, y = torch.randn(2, 5, 2, generator=rng, dtype=torch.float64)
    start = router.start(x, None)
    carry = router.observe(x, at(1.0, 5), random_prediction((5, 2), rng), start)
    for p in (router.posterior(x, at(1.0, 5), start), router.posterior(y, at(0.5, 5), carry)):
        assert p.isfinite().all() and not p[:, 0].any() and (p[:, 1:] > 0).all()


@pytest.mark.parametrize("kind", [Confidence, Density])
def test_without_counts_the_condition_does_not_move_the_start(kind, rng):
    x = torch.randn(5, 2, generator=rng, dtype=torch.float64)
    for condition in (None, Condition(label=torch.arange(5) % 2)):
        p = kind(PRIOR).posterior(x, at(1.0, 5), kind(PRIOR).start(x, None, condition))
        torch.testing.assert_close(p, PRIOR.expand(5, -1))


@pytest.mark.parametrize(
    "kind, sampler, bound",
    [(Confidence, "ancestral", 0.01), (Density, "euler", 0.004)],
)
def test_a_condition_has_its_own_posterior(kind, sampler, bound, rng):
    """Labels across clusters, one per sample (3: null): from p(k | c) to p(k | x_t, t, c)."""
    world = worlds.labelled()
    counts = torch.zeros(3, 3, dtype=torch.int64)
    images = (100 * world.mixture.weights).round().long()
    counts.index_put_((worlds.CLUSTERS, worlds.LABELS), images, accumulate=True)
    router = kind(worlds.prior(world.mixture), label_counts=counts)
    x = torch.randn(80, 2, generator=rng, dtype=torch.float64)
    z = torch.randn(50, 80, 2, generator=rng, dtype=torch.float64)
    condition = Condition(label=torch.arange(80) % 4)
    fields = [partial(v, condition=condition) for v in worlds.exact_experts(world)]
    carry, found = router.start(x, None, condition), []

    def velocity(x, t, step):
        nonlocal carry
        p = router.posterior(x, t, carry)
        v = torch.stack([field(x, t) for field in fields], 1)
        divergences = torch.stack([divergence(field, x, t) for field in fields], 1)
        mixed = (p[..., None] * v).sum(1)
        carry = router.observe(x, t, Prediction(mixed, v, divergences), carry)
        exact = world.cluster_posterior(x, t, worlds.CLUSTERS, 3, condition)
        found.append((p - exact).abs().sum(1) / 2)
        return mixed

    SAMPLERS[sampler](50)(velocity, x, None, z.__getitem__)
    found = torch.stack(found)
    assert found[0].max() < 1e-12 and found.mean() < bound
