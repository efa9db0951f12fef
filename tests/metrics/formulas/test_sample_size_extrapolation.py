"""The limit of infinitely many samples: exact lines, Gaussians, replicates."""

import numpy as np
import pytest
import torch

from routing.metrics.formulas.frechet_distance import FrechetReference, frechet_distance
from routing.metrics.formulas.sample_size_extrapolation import extrapolate, subset_sizes


def test_sizes_are_those_of_the_paper():
    assert (
        subset_sizes(50_000)[[0, -1]].tolist() == [5000, 50_000]
        and len(subset_sizes(50_000)) == 15
    )
    assert subset_sizes(200_000)[[0, -1]].tolist() == [5000, 200_000]
    assert subset_sizes(2000)[[0, -1]].tolist() == [200, 2000]
    assert subset_sizes(12).tolist() == list(range(2, 13))
    with pytest.raises(ValueError, match="wanted at least 3 samples, got 2"):
        subset_sizes(2)


def test_a_line_in_one_over_n_gives_its_intercept():
    def distance(weights):
        assert weights.shape[1] == 100 and ((weights == 0) | (weights == 1)).all()
        return 3 + 7 / weights.double().sum(dim=1)

    found = extrapolate(distance, torch.arange(100), torch.ones(2, 100))
    torch.testing.assert_close(found, torch.full((2,), 3.0).double(), rtol=1e-13, atol=0)


def test_the_line_is_that_of_least_squares(rng):
    noise = dict(
        zip(subset_sizes(90).tolist(), torch.randn(15, generator=rng).tolist(), strict=True)
    )
    order = torch.randperm(90, generator=rng)

    def distance(weights):
        for row in weights:
            assert row[order[: int(row.sum())]].all()
        return torch.tensor([noise[int(row.sum())] for row in weights], dtype=torch.float64)

    n = np.array(list(noise))
    slope, intercept = np.polyfit(1 / n, list(noise.values()), 1)
    found = extrapolate(distance, order, torch.ones(1, 90))
    assert found.item() == pytest.approx(intercept, rel=1e-10) and abs(slope) > 1


def test_a_replicate_takes_the_first_of_those_that_are_kept():
    order, seen = torch.tensor([4, 2, 0, 5, 1, 3]), []

    def distance(weights):
        seen.extend(row.nonzero()[:, 0].tolist() for row in weights)
        return torch.arange(8.0)

    found = extrapolate(distance, order, torch.tensor([[1.0, 1, 0, 1, 1, 1], [1, 1, 1, 1, 1, 0]]))
    assert seen[:4] == [[0, 4], [0, 4, 5], [0, 1, 4, 5], [0, 1, 3, 4, 5]]
    assert seen[4:] == [[2, 4], [0, 2, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]]
    assert found[1] - found[0] == pytest.approx(4)  # the values of each are its own
    with pytest.raises(ValueError, match="wanted weights of 0 and 1"):
        extrapolate(distance, order, torch.full((1, 6), 2.0))


def test_gaussians_come_nearer_to_their_truth():
    rng = torch.Generator().manual_seed(0)
    dim, num = 24, 600
    reference = FrechetReference.from_moments(torch.zeros(dim), torch.eye(dim))
    plain, limit = [], []
    for _ in range(5):
        x = torch.randn(num, dim, generator=rng, dtype=torch.float64) + 0.1
        order = torch.from_numpy(np.random.default_rng(1).permutation(num))

        def distance(weights, x=x):
            return frechet_distance(x, reference, weights)

        limit.append(extrapolate(distance, order, torch.ones(1, num)))
        plain.append(frechet_distance(x, reference, torch.ones(1, num)))
    truth = dim * 0.01
    plain, limit = torch.cat(plain).mean(), torch.cat(limit).mean()
    assert abs(limit - truth) < 0.25 * abs(plain - truth)


@pytest.mark.parametrize("dim", [6, 40])
def test_subsets_by_weights_are_subsets_by_themselves(dim, rng):
    """Dimensions below the smallest subset, and between it and the largest."""
    x = torch.randn(120, dim, generator=rng, dtype=torch.float64) + 0.2
    reference = FrechetReference.fit(torch.randn(300, dim, generator=rng))
    order = torch.from_numpy(np.random.default_rng(1).permutation(120))
    weights = torch.ones(2, 120).double()
    weights[1, 30:60] = 0
    found = extrapolate(lambda w: frechet_distance(x, reference, w), order, weights)
    for row, value in zip(weights, found, strict=True):
        kept = order[row[order] > 0]
        size = subset_sizes(len(kept))
        alone = [frechet_distance(x[kept[:n]], reference, torch.ones(1, n)) for n in size]
        slope = np.polyfit(1 / size, torch.cat(alone).numpy(), 1)
        assert value.item() == pytest.approx(slope[1], rel=1e-8)
