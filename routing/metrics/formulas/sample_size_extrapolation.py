"""The limit of a distance at infinitely many samples: the intercept of a line in 1 / n.

A distance D of n samples whose expectation is  D_inf + c / n  is measured on subsets of 15 sizes
from min(5000, max(n / 10, 2)) to n; D_inf is the intercept of the least-squares line of D on
1 / n. Source: Chong & Forsyth 2020, arXiv:1911.07023 (sizes as there; subsets are the first
samples of one given random order here, not drawn anew, so that arms and replicates share them).

It is nearer to the limit than D of n samples, not without bias: the expectation is a line in 1 / n
to first order alone.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.statistics.errors import TooFewSamples

NUM_SIZES = 15
MOST = 5000  # samples of the smallest subset

Distance = Callable[[Tensor], Tensor]  # weights [sets samples] -> [sets], float64


def subset_sizes(num_samples: int) -> Int[np.ndarray, " sizes"]:
    """The sizes of the subsets, without repetitions. ValueError below 3 samples."""
    if num_samples < 3:
        raise TooFewSamples(
            f"extrapolation: wanted at least 3 samples, got {num_samples}; draw more"
        )
    least = min(MOST, max(num_samples // 10, 2))
    return np.unique(np.linspace(least, num_samples, NUM_SIZES).astype(int))


def extrapolate(
    distance: Distance,
    order: Int[Tensor, " samples"],
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """D_inf of every replicate; float64. `weights` are 0 and 1: a subset knows no copies.

    Subsets are the first n kept samples of `order`. `distance` is asked once for all, replicate by
    replicate and from small to large, so that what one subset shares with the last is done once.
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
    """1 for the first n kept samples of `order`, for every size n; else 0."""
    kept = order[weights[order] > 0]
    subsets = weights.new_zeros(len(size := subset_sizes(len(kept))), len(weights))
    for row, n in zip(subsets, size.tolist(), strict=True):
        row[kept[:n]] = 1
    return subsets


def _intercept(n: Float[Tensor, " sizes"], values: Float[Tensor, " sizes"]) -> Float[Tensor, ""]:
    x = 1 / n.double()
    slope = ((x - x.mean()) * values).sum() / (x - x.mean()).square().sum()
    return values.mean() - slope * x.mean()
