"""The router `nearest_centroid`: its formula, its dtype, empty clusters."""

import math

import pytest
import torch
from router_inputs import BATCH, CENTROIDS, DIM, PRIOR, itself, states

from routing.ensemble.routers import (
    NearestCentroid,
    Prediction,
)
from routing.flow.exact_worlds import GaussianMixture


def test_nearest_centroid_is_the_prior_at_first_then_its_formula(rng):
    x, t = states(rng)
    v = torch.randn(BATCH, DIM, dtype=x.dtype, generator=rng)

    def encode(x0):
        return x0 * torch.tensor([2.0, -1.0], dtype=x0.dtype) + 0.5

    router = NearestCentroid(encode, CENTROIDS, PRIOR, temperature=0.8)
    carry = router.start(x, None)
    assert torch.equal(router.posterior(x, t, carry), PRIOR.expand(BATCH, -1))
    carry = router.observe(x, t, Prediction(v), carry)
    p = router.posterior(torch.zeros_like(x), torch.zeros_like(t), carry)  # x_t is not looked at
    for i in range(BATCH):
        (a, b), time = (x[i] - t[i] * v[i]).tolist(), 2 * 0.8**2
        weights = [
            pi * math.exp(-((2 * a + 0.5 - c) ** 2 + (-b + 0.5 - d) ** 2) / time)
            for pi, (c, d) in zip(PRIOR.tolist(), CENTROIDS.tolist(), strict=True)
        ]
        assert p[i].tolist() == pytest.approx([w / sum(weights) for w in weights], rel=1e-9)


def test_nearest_centroid_is_exact_at_the_data():
    # At t = 0, x_0_hat = x: with balls of one radius the formula is then Bayes' rule.
    world = GaussianMixture(
        PRIOR, CENTROIDS, torch.eye(DIM, dtype=torch.float64).repeat(3, 1, 1) * 0.49
    )
    x, _ = world.sample(BATCH, torch.Generator().manual_seed(1))
    t = torch.zeros(BATCH, dtype=torch.float64)
    router = NearestCentroid(itself, CENTROIDS, PRIOR, temperature=0.7)
    carry = router.observe(x, t, Prediction(world.velocity(x, t)), None)
    torch.testing.assert_close(router.posterior(x, t, carry), world.posterior(x, t))


@pytest.mark.parametrize("feature_dtype", [torch.float32, torch.float64])
def test_nearest_centroid_has_the_dtype_of_the_state(feature_dtype, rng):
    x, t = states(rng)
    exact = NearestCentroid(itself, CENTROIDS, PRIOR, 0.7).posterior(x, t, x)
    router = NearestCentroid(lambda x0: x0.to(feature_dtype), CENTROIDS, PRIOR, 0.7)
    p = router.posterior(x.float(), t.float(), x.float())
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.double(), exact, rtol=1e-4, atol=1e-6)


def test_an_empty_cluster_has_probability_0(rng):
    x, t = states(rng)
    prior = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
    router = NearestCentroid(itself, x[:3], prior, temperature=1e-3)
    for carry in (None, x):
        p = router.posterior(x, t, carry)
        assert p.isfinite().all() and not p[:, 0].any()
