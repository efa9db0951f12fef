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
and the same reference. Not the limit of infinitely many samples (the bias stays in). se^2 is too
large rather than too small on average, by up to twice for a distance that is all but zero.

Where everything was trained R times and every training drew the same seeds, T is the mean of the
trainings' T_r, se_sampling is the jackknife's for that mean, and what retraining would change has
its own part, with half-widths added in squares:

    se_training^2 = sum_r (T_r - T)^2 / (R (R - 1)) ,
    half^2        = (t_{B-1} se_sampling)^2 + (t_{R-1} se_training)^2

Noise of the seeds that differs between trainings is in both parts: conservative. With R = 1 there
is no second part, and the interval does not speak of retraining.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor


class Interval(NamedTuple):
    """A value, the ends of its interval and its two errors, all in the units of the metric."""

    value: float
    lo: float
    hi: float
    se_sampling: float
    se_training: float  # nan where there was one training


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


def jackknife_interval(
    replicates: Float[Tensor, "trainings replicates"], level: float = 0.95
) -> Interval:
    """Interval of a metric from its values under jackknife_weights, a row per training.

    ValueError if not finite.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: wanted a probability inside (0, 1), got {level}; 0.95 is usual")
    if replicates.shape[1] < 3:
        raise ValueError(
            f"replicates: wanted a value and at least 2 blocks, got {replicates.shape[1]} "
            "numbers; use jackknife_weights"
        )
    if not replicates.isfinite().all():
        raise ValueError(
            f"replicates: wanted finite numbers, got {replicates[~replicates.isfinite()][0]}; "
            "an infinite metric has no interval"
        )
    of_training = replicates[:, 0].double()
    value, left_out = of_training.mean().item(), replicates[:, 1:].double().mean(0)
    num_trainings, num_blocks = len(of_training), len(left_out)
    spread = (left_out - left_out.mean()).square().sum().item()
    se_sampling = math.sqrt((num_blocks - 1) / num_blocks * spread)
    half, se_training = quantile(level, num_blocks - 1) * se_sampling, math.nan
    if num_trainings > 1:
        se_training = (of_training.std() / math.sqrt(num_trainings)).item()
        half = math.hypot(half, quantile(level, num_trainings - 1) * se_training)
    return Interval(value, value - half, value + half, se_sampling, se_training)


def paired_difference(
    a: Float[Tensor, "a_trainings a_replicates"],
    b: Float[Tensor, "b_trainings b_replicates"],
    level: float = 0.95,
) -> Interval:
    """Interval of the metric of arm `a` minus that of arm `b`.

    Same seeds, same blocks, and row r of both from the same training: what they have in common
    (an expert that both ask, say) cancels.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"replicates: wanted as many for both arms, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}; cut both into the same blocks"
        )
    return jackknife_interval(a - b, level)


def quantile(level: float, freedom: int) -> float:
    """Half-width, in standard errors, of the two-sided interval of Student's law."""
    return stats.t.ppf((1 + level) / 2, freedom).item()
