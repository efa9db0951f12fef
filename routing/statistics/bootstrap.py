"""The paired bootstrap: standard errors from samples drawn again, with replacement.

A draw r counts sample i  c[r, i]  times, (c[r, 1], ..., c[r, n]) multinomial with n trials and
equal chances. With T the metric of all samples, T*_r that of draw r, and T*_mean their mean,

    se^2 = sum_r (T*_r - T*_mean)^2 / (D - 1) ,        T +- h ,
    h    = the ceil(level (D + 1))-th smallest of |T*_r - T*_mean| ,  D draws.

Arms that use the same seeds take the same counts, so that the draws of a difference are the
differences of the draws: what the seeds have in common cancels, and most of the bias too.

Why centred: a Frechet distance of n samples exceeds its limit by about c / n, and a draw, which
repeats samples, adds that once more. Percentiles of T* would surround T + c / n, the basic
interval T - c / n; what is wanted here, as in routing.statistics.intervals, is where the mean of
T over new
seeds lies at this n. Why symmetric: the errors of the two ends cancel (Hall 1988,
doi:10.1214/aos/1176350933), and no normal law is asked for. h is for n of some hundreds: it does
not know that se is itself estimated, as Student's quantile does (for a mean se is too small by
(1 - 1/n)^(1/2)).

Where everything was trained several times, the part of the trainings is that of
routing.statistics.intervals, and half-widths are added in squares. Source: Efron 1979,
doi:10.1214/aos/1176344552.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from routing.statistics.intervals import (
    Interval,
    checked_level,
    over_trainings,
    paired,
    quantile,
    training_errors,
)


def bootstrap_counts(
    num_samples: int, num_draws: int, rng: np.random.Generator
) -> Float[Tensor, "draws samples"]:
    """How often each sample counts in each draw, float64; the same for all arms.

    Rows sum to the number of samples. More draws from the same generator begin with these.
    """
    if num_samples < 2 or num_draws < 2:
        raise ValueError(
            f"bootstrap: wanted at least 2 samples and 2 draws, got {num_samples} and "
            f"{num_draws}; 1,000 draws serve most purposes"
        )
    counts = torch.empty(num_draws, num_samples, dtype=torch.float64)
    for row in counts:
        drawn = rng.integers(num_samples, size=num_samples)
        row[:] = torch.from_numpy(np.bincount(drawn, minlength=num_samples))
    return counts


def bootstrap_interval(
    replicates: Float[Tensor, "trainings replicates"], level: float = 0.95
) -> Interval:
    """Interval of a metric from its value and its draws, a row per training.

    Replicate 0 is the value of all samples, the others are those of bootstrap_counts. ValueError
    if not finite, and on fewer draws than the level asks for.
    """
    of_training, means = over_trainings(replicates)
    errors = training_errors(of_training)
    half = half_widths(means[1:], errors, len(of_training), level).item()
    value, se_sampling = means[0].item(), means[1:].std(ddof=1).item()
    return Interval(value, value - half, value + half, se_sampling, errors.item())


def bootstrap_difference(
    a: Float[Tensor, "a_trainings a_replicates"],
    b: Float[Tensor, "b_trainings b_replicates"],
    level: float = 0.95,
) -> Interval:
    """Interval of the metric of arm `a` minus that of arm `b`, under the same counts.

    Row r of both is from the same training. ValueError as bootstrap_interval.
    """
    return bootstrap_interval(paired(a, b), level)


def half_widths(
    draws: Float[np.ndarray, "*many draws"],
    se_training: Float[np.ndarray, "*many"],
    num_training_seeds: int,
    level: float = 0.95,
) -> Float[np.ndarray, "*many"]:
    """Half of the intervals of many metrics or differences at once, of means over trainings.

    `se_training` is nan where there was one. ValueError on fewer draws than the level asks for.
    """
    num_draws = draws.shape[-1]
    if num_draws < fewest_draws(level):
        raise ValueError(
            f"bootstrap: wanted at least {fewest_draws(level)} draws for level {level}, got "
            f"{num_draws}; 1,000 serve most purposes"
        )
    rank = math.ceil(level * (num_draws + 1) - 1e-9)
    centred = np.abs(draws - draws.mean(-1, keepdims=True))
    half = np.partition(centred, rank - 1)[..., rank - 1]
    if num_training_seeds > 1:
        half = np.hypot(half, quantile((1 - level) / 2, num_training_seeds - 1) * se_training)
    return np.asarray(half)


def fewest_draws(level: float = 0.95) -> int:
    """As many as an interval of this level wants. ValueError on a level that is none."""
    return max(2, math.ceil(checked_level(level) / (1 - level) - 1e-9))
