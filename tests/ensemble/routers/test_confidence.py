"""The router `confidence`: Bayes' rule by loop, and its error along the ancestral path."""

import math

import pytest
import torch
from trajectory_routers import (
    PRIOR,
    at,
    distances,
    prior,
    random_prediction,
)

from routing.ensemble.routers import Confidence
from routing.flow.samplers import SAMPLERS


@pytest.mark.parametrize("num_experts", [3, 4])
@pytest.mark.parametrize("num_steps, bound", [(25, 0.008), (100, 0.003)])
def test_confidence_reaches_the_posterior_along_the_ancestral_path(num_steps, bound, num_experts):
    router = Confidence(prior(num_experts), 1.0)
    found = distances(router, SAMPLERS["ancestral"](num_steps), num_experts)
    assert found[0].max() < 1e-15  # the prior is right at t = 1
    assert found.mean() < bound and found.mean(1).max() < 3 * bound


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


def test_posterior_and_observe_agree(rng):
    """`posterior` returns at a call what `observe` keeps there."""
    router, shape = Confidence(PRIOR, 2.0), (5, 2)
    x, y = torch.randn(2, *shape, generator=rng, dtype=torch.float64)
    carry = router.observe(x, at(1.0, 5), random_prediction(shape, rng), router.start(x, None))
    p = router.posterior(y, at(0.6, 5), carry)
    kept = router.observe(y, at(0.6, 5), random_prediction(shape, rng), carry).log_p
    torch.testing.assert_close(p, kept.softmax(1))


def test_a_step_to_the_data_leaves_p_as_it_is(rng):
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
    with pytest.raises(ValueError, match=message) as error:
        router.posterior(x, at(s, 5), carry)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="got 0.5 after 0.5"):  # one sample is enough
        router.posterior(x, torch.tensor([0.1, 0.2, 0.5, 0.4, 0.3]).double(), carry)
