"""The contract of all set metrics: one table, the same questions to each."""

import pytest
import torch

from routing.metrics.formulas import input_checks
from routing.metrics.formulas.cmmd import GaussianReference, cmmd, cmmd_unbiased
from routing.metrics.formulas.energy_distance import EnergyReference, energy_distance
from routing.metrics.formulas.frechet_distance import FrechetReference, frechet_distance
from routing.metrics.formulas.input_checks import (
    WEIGHTS_PER_CHECK,
    reference_features,
    sample_counts,
    weighted_samples,
)
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.formulas.precision_recall import NeighbourReference, neighbour_metrics
from routing.statistics.jackknife import jackknife_weights, seed_blocks


def neighbour(name):
    return lambda x, y, w: neighbour_metrics(x, NeighbourReference.fit(y), w)[name]


METRICS = {
    "frechet": lambda x, y, w: frechet_distance(x, FrechetReference.fit(y), w),
    "kernel": lambda x, y, w: kernel_distance(x, KernelReference.fit(y), w),
    "energy": lambda x, y, w: energy_distance(x, EnergyReference.fit(y), w),
    "precision": neighbour("precision"),
    "recall": neighbour("recall"),
    "density": neighbour("density"),
    "coverage": neighbour("coverage"),
    "cmmd": lambda x, y, w: cmmd(x, GaussianReference.fit(y), w),
    "cmmd_unbiased": lambda x, y, w: cmmd_unbiased(x, GaussianReference.fit(y), w),
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())


@pytest.fixture
def sets(rng):
    """Samples and a reference that differ, so that no metric is at an end of its range."""
    x = torch.randn(60, 5, generator=rng, dtype=torch.float64) + 1
    return x, torch.randn(45, 5, generator=rng, dtype=torch.float64)


def alone(metric, x, y):
    return metric(x, y, torch.ones(1, len(x)))[0]


def test_every_metric_is_asked():
    x = torch.eye(8)
    names = neighbour_metrics(x, NeighbourReference.fit(x), torch.ones(1, 8)).keys()
    assert set(METRICS) == {"frechet", "kernel", "energy", "cmmd", "cmmd_unbiased"} | names


@every_metric
@pytest.mark.parametrize("num_blocks", [2, 10])
def test_a_jackknife_replicate_is_the_metric_of_the_samples_left(metric, num_blocks, sets):
    x, y = sets
    blocks = seed_blocks(len(x), num_blocks)
    replicates = metric(x, y, jackknife_weights(blocks))
    subsets = [x] + [x[blocks != b] for b in range(num_blocks)]
    expected = torch.stack([alone(metric, kept, y) for kept in subsets])
    torch.testing.assert_close(replicates, expected, rtol=1e-9, atol=1e-11)
    assert replicates.dtype == torch.float64


@every_metric
def test_any_samples_may_be_left_out_of_any_replicate(metric, sets, rng):
    x, y = sets
    w = (torch.rand(6, len(x), generator=rng) < 0.5).double()  # row 0 too
    expected = torch.stack([alone(metric, x[row > 0], y) for row in w])
    assert len(expected.unique()) > 1  # who is left matters
    torch.testing.assert_close(metric(x, y, w), expected, rtol=1e-9, atol=1e-11)


@every_metric
def test_twice_the_same_in_any_order(metric, sets, rng):
    x, y = sets
    assert torch.equal(alone(metric, x, y), alone(metric, x, y))
    i = torch.randperm(len(x), generator=rng)
    j = torch.randperm(len(y), generator=rng)
    torch.testing.assert_close(alone(metric, x[i], y[j]), alone(metric, x, y), rtol=1e-10, atol=0)


@every_metric
def test_single_precision_features_are_counted_in_double(metric, sets):
    x, y = (s.float() for s in sets)
    assert torch.equal(alone(metric, x, y), alone(metric, x.double(), y.double()))


def test_what_is_enough_passes_unchanged():
    w = torch.tensor([[1.0, 1, 1], [2, 1, 7]])
    x, counts = weighted_samples(torch.eye(3), w, dim=3, at_least=3)
    assert torch.equal(x, torch.eye(3).double()) and torch.equal(counts, w.double())
    assert torch.equal(reference_features(torch.eye(3), at_least=3), x)


@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("wrong", [0.5, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_counts_are_looked_at_to_the_last(where, wrong, dtype):
    """And once more after they were written to, or at another tensor in their place."""
    w = torch.full((3 * WEIGHTS_PER_CHECK // 60, 60), 2.0, dtype=dtype)
    for _ in range(2):
        assert torch.equal(sample_counts(w, at_least=60), w.double())
    with pytest.raises(ValueError, match="wanted at least 61 samples in every replicate, got 60;"):
        sample_counts(w, at_least=61)
    w[where, where] = wrong
    with pytest.raises(ValueError, match=f"wanted whole numbers >= 0, got {wrong:g};"):
        sample_counts(w, at_least=2)
    w[where] = 0
    w[where, 5] = 7  # one sample, however often
    assert torch.equal(sample_counts(w, at_least=1), w.double())
    with pytest.raises(ValueError, match="wanted at least 2 samples in every replicate, got 1;"):
        sample_counts(w, at_least=2)


def test_what_was_looked_at_is_forgotten_with_it():
    before = len(input_checks._CHECKED)
    w = torch.ones(3, 4, dtype=torch.float64)
    sample_counts(w, at_least=1)
    assert len(input_checks._CHECKED) == before + 1
    del w
    assert len(input_checks._CHECKED) == before


@every_metric
def test_what_cannot_be_compared_is_refused_in_one_line(metric, sets):
    x, y = sets
    w = torch.ones(2, len(x))
    broken = x.clone()
    broken[3, 2], broken[7] = float("nan"), float("inf")
    half = w.clone()
    half[1, 4] = 0.5
    few = torch.zeros_like(w)
    few[0], few[1, 0] = 1, 9  # one sample nine times is one
    refused = [
        ((x, y[:, :4], w), "samples: wanted 4 features as the reference has, got 5"),
        ((broken, y, w), "samples: wanted finite features, got nan or inf in 2 of 60 rows"),
        ((x, broken, w), "reference: wanted finite features"),
        ((x[:1], y, w[:, :1]), "samples: wanted at least [24] rows, got 1"),
        ((x, y[:1], w), "reference: wanted at least [26] rows, got 1"),
        ((x, y, half), r"weights: wanted whole numbers >= 0, got 0\.5"),
        ((x, y, -w), "weights: wanted whole numbers >= 0, got -1"),
        ((x, y, w * float("inf")), "weights: wanted whole numbers >= 0, got inf"),
        ((x, y, few), "weights: wanted at least [24] samples in every replicate, got 1"),
    ]
    for arguments, message in refused:
        with pytest.raises(ValueError, match=message) as error:
            metric(*arguments)
        assert "\n" not in str(error.value) and "; " in str(error.value)
    metric(x[:6], y[:6], torch.ones(1, 6))  # enough of both for all of them
