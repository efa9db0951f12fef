"""The limit of infinitely many samples: exact lines, Gaussians, replicates."""

import numpy as np
import pytest
import torch

from routing.extrapolation import extrapolated, sizes
from routing.frechet import FrechetReference, frechet_distance


def test_sizes_are_those_of_the_paper():
    assert sizes(50_000)[[0, -1]].tolist() == [5000, 50_000] and len(sizes(50_000)) == 15
    assert sizes(200_000)[[0, -1]].tolist() == [5000, 200_000]
    assert sizes(2000)[[0, -1]].tolist() == [200, 2000]
    assert sizes(12).tolist() == list(range(2, 13))
    with pytest.raises(ValueError, match="wanted at least 3 samples, got 2"):
        sizes(2)


def test_a_line_in_one_over_n_gives_its_intercept():
    def distance(rows, weights):
        assert weights.shape == (1, len(rows)) and (weights == 1).all()
        return torch.tensor([3.0 + 7.0 / len(rows)], dtype=torch.float64)

    found = extrapolated(distance, torch.arange(100), torch.ones(2, 100))
    torch.testing.assert_close(found, torch.full((2,), 3.0).double(), rtol=1e-13, atol=0)


def test_the_line_is_that_of_least_squares(rng):
    noise = dict(zip(sizes(90).tolist(), torch.randn(15, generator=rng).tolist(), strict=True))
    order = torch.randperm(90, generator=rng)

    def distance(rows, weights):
        assert torch.equal(rows, order[: len(rows)])
        return torch.tensor([noise[len(rows)]], dtype=torch.float64)

    n = np.array(list(noise))
    slope, intercept = np.polyfit(1 / n, list(noise.values()), 1)
    found = extrapolated(distance, order, torch.ones(1, 90))
    assert found.item() == pytest.approx(intercept, rel=1e-10) and abs(slope) > 1


def test_a_replicate_takes_the_first_of_those_that_are_kept():
    order, seen = torch.tensor([4, 2, 0, 5, 1, 3]), []

    def distance(rows, weights):
        seen.append(rows.tolist())
        return torch.tensor([1.0])

    extrapolated(distance, order, torch.tensor([[1.0, 1, 0, 1, 1, 1]]))
    assert seen == [[4, 0], [4, 0, 5], [4, 0, 5, 1], [4, 0, 5, 1, 3]]
    with pytest.raises(ValueError, match="wanted weights of 0 and 1"):
        extrapolated(distance, order, torch.full((1, 6), 2.0))


def test_gaussians_come_nearer_to_their_truth():
    rng = torch.Generator().manual_seed(0)
    dim, num = 24, 600
    reference = FrechetReference.from_moments(torch.zeros(dim), torch.eye(dim))
    plain, limit = [], []
    for _ in range(5):
        x = torch.randn(num, dim, generator=rng, dtype=torch.float64) + 0.1
        order = torch.from_numpy(np.random.default_rng(1).permutation(num))

        def distance(rows, weights, x=x):
            return frechet_distance(x[rows], reference, weights)

        limit.append(extrapolated(distance, order, torch.ones(1, num)))
        plain.append(frechet_distance(x, reference, torch.ones(1, num)))
    truth = dim * 0.01
    plain, limit = torch.cat(plain).mean(), torch.cat(limit).mean()
    assert abs(limit - truth) < 0.25 * abs(plain - truth)
