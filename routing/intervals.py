"""Intervals for metrics of sets, and for their paired differences: the delete-one-block jackknife.

The samples, in the order of their seeds, are cut into B equal blocks. With T the metric of all
samples, T_b that of all but block b, and T_mean the mean of the T_b,

    se^2 = (B - 1) / B  sum_b (T_b - T_mean)^2 ,    T +- t_{B-1} se ,

t_{B-1} the quantile of Student's law. Arms that use the same seeds leave out the same blocks,
so the replicates of a difference are the differences of the replicates, and what the seeds have
in common cancels. Source: Tukey 1958; Efron & Stein 1981, doi:10.1214/aos/1176345462.

Why no percentile bootstrap: a Frechet distance of n samples exceeds its limit by about c / n,
and a resample, which repeats samples, adds that bias once more: the percentiles may lie
altogether above the number they are to surround. Here the interval is around T itself.

What the interval says: where the mean of T over new seeds lies, at the same number of samples
and the same reference. Not the limit of infinitely many samples (the bias stays in), and not
what retraining the experts would change. se^2 is too large rather than too small on average,
by up to twice for a distance that is all but zero.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor


class Interval(NamedTuple):
    """A value and the ends of its interval, in the units of the metric."""

    value: float
    lo: float
    hi: float


def seed_blocks(num_samples: int, num_blocks: int) -> Int[Tensor, " samples"]:
    """Block of every sample: consecutive seeds, equal sizes. ValueError if that cannot be."""
    if not 2 <= num_blocks <= num_samples:
        raise ValueError(
            f"num_blocks: wanted 2..{num_samples} (samples), got {num_blocks}; "
            "20 blocks serve most purposes"
        )
    if num_samples % num_blocks:
        fit = [b for b in range(2, num_samples + 1) if num_samples % b == 0]
        near = [b for b in fit if b < num_blocks][-1:] + [b for b in fit if b > num_blocks][:1]
        raise ValueError(
            f"num_blocks: wanted a divisor of {num_samples} (samples), got {num_blocks}; "
            f"take {' or '.join(map(str, near))}"
        )
    return torch.arange(num_samples) // (num_samples // num_blocks)


def jackknife_weights(blocks: Int[Tensor, " samples"]) -> Float[Tensor, "replicates samples"]:
    """Row 0 counts every sample once; row b + 1 leaves out block b. Float64.

    ValueError on blocks of unequal sizes or fewer than two.
    """
    sizes = blocks.bincount()
    if len(sizes) < 2 or (sizes != sizes[0]).any():
        raise ValueError(
            f"blocks: wanted at least 2 of equal size, got sizes {sizes.tolist()}; use seed_blocks"
        )
    left_out = torch.arange(-1, len(sizes), device=blocks.device)  # -1: none
    return (blocks != left_out[:, None]).double()


def jackknife_interval(replicates: Float[Tensor, " replicates"], level: float = 0.95) -> Interval:
    """Interval of a metric from its values under jackknife_weights. ValueError if not finite."""
    if not 0 < level < 1:
        raise ValueError(f"level: wanted a probability inside (0, 1), got {level}; 0.95 is usual")
    if len(replicates) < 3:
        raise ValueError(
            f"replicates: wanted a value and at least 2 blocks, got {len(replicates)} numbers; "
            "use jackknife_weights"
        )
    if not replicates.isfinite().all():
        raise ValueError(
            f"replicates: wanted finite numbers, got {replicates[~replicates.isfinite()][0]}; "
            "an infinite metric has no interval"
        )
    value, left_out = replicates[0].item(), replicates[1:].double()
    num_blocks = len(left_out)
    spread = (left_out - left_out.mean()).square().sum().item()
    se = math.sqrt((num_blocks - 1) / num_blocks * spread)
    half = stats.t.ppf((1 + level) / 2, num_blocks - 1).item() * se
    return Interval(value, value - half, value + half)


def paired_difference(
    a: Float[Tensor, " a_replicates"], b: Float[Tensor, " b_replicates"], level: float = 0.95
) -> Interval:
    """Interval of the metric of arm `a` minus that of arm `b`: same seeds, same blocks."""
    if len(a) != len(b):
        raise ValueError(
            f"replicates: wanted as many for both arms, got {len(a)} and {len(b)}; "
            "cut both into the same blocks"
        )
    return jackknife_interval(a - b, level)
