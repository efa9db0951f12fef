"""Extrapolation of a distance to infinitely many samples: the intercept of a line in 1 / n.

A distance D of n samples whose expectation is  D_inf + c / n  is measured on subsets of 15 sizes
from min(5000, max(n / 10, 2)) to n; D_inf is the intercept of the least-squares line of D on
1 / n. Source: Chong & Forsyth 2020, arXiv:1911.07023, with their sizes. Departs from the paper:
subsets are the first samples of one random order instead of new draws, so that arms and replicates
share them.

D_inf is nearer to the limit than D of n samples, but not unbiased: the expectation is linear in
1 / n to first order only.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.statistics.errors import TooFewSamples

NUM_SIZES = 15
MAX_SMALLEST_SIZE = 5000  # upper limit of the size of the smallest subset

Distance = Callable[[Tensor], Tensor]  # weights [sets samples] -> [sets], float64


def subset_sizes(num_samples: int) -> Int[np.ndarray, " sizes"]:
    """Return the sizes of the subsets, without repetitions. Raise ValueError below 3 samples."""
    if num_samples < 3:
        raise TooFewSamples(
            f"extrapolation: wanted at least 3 samples, got {num_samples}; draw more"
        )
    least = min(MAX_SMALLEST_SIZE, max(num_samples // 10, 2))
    return np.unique(np.linspace(least, num_samples, NUM_SIZES).astype(int))


def extrapolate(
    distance: Distance,
    order: Int[Tensor, " samples"],
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """Return D_inf of every replicate, float64. Raise ValueError on weights other than 0 and 1.

    Subsets are the first n kept samples of `order`. `distance` is called once with all subsets,
    ordered by replicate and size, so that it can reuse what a subset shares with the last one.
    """
    if ((weights != 0) & (weights != 1)).any():
        raise ValueError(
            "extrapolation: wanted weights of 0 and 1, got others; leave samples out, do not "
            "repeat them"
        )
    subsets = [_subsets(order, row) for row in weights]
    num, subsets = [*map(len, subsets)], torch.cat(subsets)
    each = zip(subsets.split(num), distance(subsets).split(num), strict=True)
    return torch.stack([_intercept(some.sum(dim=1), values) for some, values in each])


def _subsets(
    order: Int[Tensor, " samples"], weights: Float[Tensor, " samples"]
) -> Float[Tensor, "sizes samples"]:
    """Return 1 for the first n kept samples of `order`, for every size n; else 0."""
    kept = order[weights[order] > 0]
    subsets = weights.new_zeros(len(size := subset_sizes(len(kept))), len(weights))
    for row, n in zip(subsets, size.tolist(), strict=True):
        row[kept[:n]] = 1
    return subsets


def _intercept(n: Float[Tensor, " sizes"], values: Float[Tensor, " sizes"]) -> Float[Tensor, ""]:
    x = 1 / n.double()
    slope = ((x - x.mean()) * values).sum() / (x - x.mean()).square().sum()
    return values.mean() - slope * x.mean()
