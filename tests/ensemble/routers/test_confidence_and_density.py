"""What `confidence` and `density` have in common: their order, empty clusters, conditions."""

from functools import partial

import exact_mixtures
import pytest
import torch
from trajectory_routers import PRIOR, at, distances, divergence, prior, random_prediction, slope

from routing.ensemble.routers import Confidence, Density, Prediction
from routing.flow.conditions import Condition
from routing.flow.samplers import SAMPLERS


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
    world = exact_mixtures.labelled()
    counts = torch.zeros(3, 3, dtype=torch.int64)
    images = (100 * world.mixture.weights).round().long()
    counts.index_put_((exact_mixtures.CLUSTERS, exact_mixtures.LABELS), images, accumulate=True)
    router = kind(exact_mixtures.prior(world.mixture), label_counts=counts)
    x = torch.randn(80, 2, generator=rng, dtype=torch.float64)
    z = torch.randn(50, 80, 2, generator=rng, dtype=torch.float64)
    condition = Condition(label=torch.arange(80) % 4)
    fields = [partial(v, condition=condition) for v in exact_mixtures.exact_experts(world)]
    carry, found = router.start(x, None, condition), []

    def velocity(x, t, step):
        nonlocal carry
        p = router.posterior(x, t, carry)
        v = torch.stack([field(x, t) for field in fields], 1)
        divergences = torch.stack([divergence(field, x, t) for field in fields], 1)
        mixed = (p[..., None] * v).sum(1)
        carry = router.observe(x, t, Prediction(mixed, v, divergences), carry)
        exact = world.cluster_posterior(x, t, exact_mixtures.CLUSTERS, 3, condition)
        found.append((p - exact).abs().sum(1) / 2)
        return mixed

    SAMPLERS[sampler](50)(velocity, x, None, z.__getitem__)
    found = torch.stack(found)
    assert found[0].max() < 1e-12 and found.mean() < bound
