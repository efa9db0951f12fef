"""The paired bootstrap: standard errors and intervals from resampling with replacement.

A draw r counts sample i  c[r, i]  times, (c[r, 1], ..., c[r, n]) multinomial with n trials and
equal probabilities. With T the metric of all samples, T*_r that of draw r, T*_mean their mean and
D the number of draws,

    se^2 = sum_r (T*_r - T*_mean)^2 / (D - 1) ,        T +- h ,
    h    = the ceil(level (D + 1))-th smallest of |T*_r - T*_mean| .

Arms that use the same seeds get the same counts, so the draws of a difference are the differences
of the draws. The variation that the arms share cancels, and most of the bias does too.

The interval is centred on T, because a Frechet distance of n samples exceeds its limit by about
c / n. A draw repeats samples and adds that bias once more: percentiles of T* would surround T +
c / n, and the basic interval T - c / n. The target, as in `routing.statistics.jackknife`, is the
mean of T over new seeds at this n. The interval is symmetric, because the errors of its two ends
then cancel (Hall 1988, doi:10.1214/aos/1176350933); normality is not assumed. h is meant for n of
some hundreds: unlike Student's quantile it ignores that se is estimated (for a mean, se is too
small by (1 - 1/n)^(1/2)).

With several training seeds the error of retraining is that of `routing.statistics.intervals`, and
half-widths are added in squares. Source: Efron 1979, doi:10.1214/aos/1176344552.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from routing.statistics.intervals import (
    Interval,
    average_over_training_seeds,
    check_level,
    paired_replicates,
    student_quantile,
    training_standard_errors,
)


def bootstrap_counts(
    num_samples: int, num_draws: int, rng: np.random.Generator
) -> Float[Tensor, "draws samples"]:
    """Return how often each draw counts each sample, in float64; use the same for all arms.

    Rows sum to the number of samples. With the same generator, a larger `num_draws` begins with
    the same rows.
    """
    if num_samples < 2 or num_draws < 2:
        raise ValueError(
            f"bootstrap: wanted at least 2 samples and 2 draws, got {num_samples} and "
            f"{num_draws}; 1,000 draws are usual"
        )
    counts = torch.empty(num_draws, num_samples, dtype=torch.float64)
    for row in counts:
        drawn = rng.integers(num_samples, size=num_samples)
        row[:] = torch.from_numpy(np.bincount(drawn, minlength=num_samples))
    return counts


def bootstrap_interval(
    replicates: Float[Tensor, "training_seeds replicates"], level: float = 0.95
) -> Interval:
    """Return the interval of a metric from its value (replicate 0) and its draws (the others).

    The draws are values under bootstrap_counts. Raises ValueError if a value is not finite, or if
    there are fewer draws than `min_num_draws(level)`.
    """
    by_training_seed, means = average_over_training_seeds(replicates)
    errors = training_standard_errors(by_training_seed)
    half = bootstrap_half_widths(means[1:], errors, len(by_training_seed), level).item()
    value, se_sampling = means[0].item(), means[1:].std(ddof=1).item()
    return Interval(value, value - half, value + half, se_sampling, errors.item())


def bootstrap_difference(
    a: Float[Tensor, "a_training_seeds a_replicates"],
    b: Float[Tensor, "b_training_seeds b_replicates"],
    level: float = 0.95,
) -> Interval:
    """Return the interval of the metric of arm `a` minus that of arm `b`, with the same counts.

    Row r of both has the same training seed. Raises ValueError as bootstrap_interval does.
    """
    return bootstrap_interval(paired_replicates(a, b), level)


def bootstrap_half_widths(
    draws: Float[np.ndarray, "*many draws"],
    se_training: Float[np.ndarray, "*many"],
    num_training_seeds: int,
    level: float = 0.95,
) -> Float[np.ndarray, "*many"]:
    """Return half of the interval widths of many metrics, from draws averaged over training seeds.

    `se_training` is nan with one training seed. Raises ValueError if there are fewer draws than
    `min_num_draws(level)`.
    """
    num_draws = draws.shape[-1]
    if num_draws < min_num_draws(level):
        raise ValueError(
            f"bootstrap: wanted at least {min_num_draws(level)} draws for level {level}, got "
            f"{num_draws}; 1,000 are usual"
        )
    rank = math.ceil(level * (num_draws + 1) - 1e-9)
    centred = np.abs(draws - draws.mean(-1, keepdims=True))
    half = np.partition(centred, rank - 1)[..., rank - 1]
    if num_training_seeds > 1:
        quantile = student_quantile((1 - level) / 2, num_training_seeds - 1)
        half = np.hypot(half, quantile * se_training)
    return np.asarray(half)


def min_num_draws(level: float = 0.95) -> int:
    """Return the smallest number of draws for a level. Raises ValueError unless 0 < level < 1."""
    check_level(level)
    return max(2, math.ceil(level / (1 - level) - 1e-9))
