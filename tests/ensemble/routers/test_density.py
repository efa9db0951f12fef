"""The router `density`: its formula call by call, and its error along the ODE and the SDE."""

import pytest
import torch
from trajectory_routers import (
    CLUSTERS,
    PRIOR,
    WORLD,
    at,
    distances,
    evaluate_all,
    parts,
    prior,
    random_prediction,
)

from routing.ensemble.routers import Density, Prediction
from routing.flow.samplers import SAMPLERS


@pytest.mark.parametrize("num_experts", [3, 4])
@pytest.mark.parametrize(
    "name, num_steps, bound",
    [("euler", 40, 1e-3), ("heun", 20, 2e-3), ("rk4", 10, 3e-3), ("dpmpp_2m", 40, 1e-3)],
)
def test_density_reaches_the_posterior_along_the_ode(name, num_steps, bound, num_experts):
    """Heun and RK4 evaluate at states off the solution, and twice at one time."""
    found = distances(Density(prior(num_experts)), SAMPLERS[name](num_steps), num_experts)
    assert found[0].max() < 1e-15
    assert found.mean() < bound and found.mean(1).max() < 4 * bound


def test_density_holds_along_the_sde_too():
    found = distances(Density(prior(3)), SAMPLERS["ancestral"](100), 3)
    assert found.mean() < 0.005


def test_density_does_not_depend_on_the_path():
    """From (x, 1) to (y, 0.3), straight or by detours in space at standing and rising times."""
    g = torch.Generator().manual_seed(1)
    x, y, z = torch.randn(3, 8, 2, generator=g, dtype=torch.float64)
    y, experts, router = y * 2, parts(3), Density(prior(3))
    corners = [(x, 1.0), (z, 0.8), (y, 0.8), (z, 0.9), (y, 0.3)]
    carry, num = router.start(x, None), 30
    for (a, s), (b, t) in zip(corners, corners[1:], strict=False):
        for i in range(num + 1):
            at, time = a + (b - a) * i / num, x.new_full((8,), s + (t - s) * i / num)
            v, divergences = evaluate_all(experts, at, time)
            carry = router.observe(at, time, Prediction(v[:, 0], v, divergences), carry)
    p = router.posterior(y, time, carry)
    exact = WORLD.cluster_posterior(y, time, CLUSTERS[3], 3)
    torch.testing.assert_close(p, exact, rtol=0, atol=2e-3)


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


def test_density_at_the_data_uses_the_derivatives_before_it(rng):
    router, shape = Density(PRIOR), (5, 2)
    x, y = torch.randn(2, *shape, generator=rng, dtype=torch.float64)
    carry = router.observe(x, at(0.5, 5), random_prediction(shape, rng), router.start(x, None))
    p = router.posterior(y, at(0.0, 5), carry)
    carry = router.observe(y, at(0.0, 5), random_prediction(shape, rng), carry)
    torch.testing.assert_close(carry.log_p.softmax(1), p)
