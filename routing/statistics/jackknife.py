"""Intervals for metrics of sample sets, and for paired differences: the delete-a-block jackknife.

The samples, in the order of their seeds, are cut into B equal blocks. With T the metric of all
samples, T_b that of all but block b, and T_mean the mean of the T_b,

    se^2 = (B - 1) / B  sum_b (T_b - T_mean)^2 ,    T +- t_{B-1} se ,

with t_{B-1} the quantile of Student's t distribution. Arms that use the same seeds leave out the
same blocks, so the replicates of a difference are the differences of the replicates, and the
variation that the arms share cancels. Source: Tukey 1958; Efron & Stein 1981,
doi:10.1214/aos/1176345462.

No percentile bootstrap is used, because a Frechet distance of n samples exceeds its limit by about
c / n. A resample repeats samples and adds that bias once more, so that the percentiles may all lie
above T. The jackknife interval is centred on T.

The interval estimates the mean of T over new seeds, at the same number of samples and the same
reference; the bias of T at that number of samples is not removed. On average se^2 is too large: by
up to twice for a distance near zero, and by three to five times for recall and coverage, which
jump when samples are left out. Small differences of recall and coverage are therefore rarely
significant.

With R training seeds T is the mean over them, se_sampling is the jackknife error of that mean, and
retraining adds se_training (`routing.statistics.intervals`):

    half^2 = (t_{B-1} se_sampling)^2 + (t_{R-1} se_training)^2

Sampling noise that differs between the runs enters both errors, which is conservative.

The p value of the hypothesis T = 0 follows from the interval: 1 - p is the level at which the
interval ends at zero, so p < 0.05 if and only if the 95 % interval excludes zero. With one
training seed it is the p value of Student's t test.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import special
from torch import Tensor

from routing.statistics.errors import TooFewSamples
from routing.statistics.intervals import (
    Interval,
    Many,
    average_over_training_seeds,
    check_level,
    paired_replicates,
    student_quantile,
    training_standard_errors,
)


def seed_blocks(num_samples: int, num_blocks: int) -> Int[Tensor, " samples"]:
    """Return the block of each sample: consecutive seeds, equal block sizes.

    Raises TooFewSamples below 2 samples, and ValueError unless `num_blocks` divides their number.
    """
    if num_samples < 2:
        raise TooFewSamples(f"num_blocks: wanted 2 samples at least, got {num_samples}; draw more")
    if num_blocks < 2 or num_samples % num_blocks:
        fit = [b for b in range(2, num_samples + 1) if num_samples % b == 0]
        near = [b for b in fit if b < num_blocks][-1:] + [b for b in fit if b > num_blocks][:1]
        wanted = "a divisor" if num_blocks > 1 else "a divisor > 1"
        raise ValueError(
            f"num_blocks: wanted {wanted} of {num_samples} (samples), got {num_blocks}; "
            f"take {' or '.join(map(str, near))}"
        )
    return torch.arange(num_samples) // (num_samples // num_blocks)


def jackknife_weights(blocks: Int[Tensor, " samples"]) -> Float[Tensor, "replicates samples"]:
    """Return sample weights in float64: row 0 is all ones, row b + 1 leaves out block b.

    Raises ValueError unless there are two or more blocks of equal size.
    """
    sizes = blocks.bincount()
    if len(sizes) < 2 or (sizes != sizes[0]).any():
        raise ValueError(
            f"blocks: wanted at least 2 of equal size, got sizes {sizes.tolist()}; use seed_blocks"
        )
    left_out = torch.arange(-1, len(sizes), device=blocks.device)  # -1: no block
    return (blocks != left_out[:, None]).double()


def jackknife_interval(
    replicates: Float[Tensor, "training_seeds replicates"], level: float = 0.95
) -> Interval:
    """Return the interval of a metric from its values under jackknife_weights.

    Raises ValueError if a value is not finite.
    """
    found = JackknifeEstimates.fit(replicates)
    half = found.half_widths(level).item()
    value = found.value.item()
    errors = found.se_sampling.item(), found.se_training.item()
    return Interval(value, value - half, value + half, *errors)


def jackknife_p_value(replicates: Float[Tensor, "training_seeds replicates"]) -> float:
    """Return the two-sided p value of the hypothesis that the metric is zero.

    For a difference of arms, pass a - b, paired as in jackknife_difference. Raises ValueError if a
    value is not finite.
    """
    return JackknifeEstimates.fit(replicates).p_values().item()


def jackknife_difference(
    a: Float[Tensor, "a_training_seeds a_replicates"],
    b: Float[Tensor, "b_training_seeds b_replicates"],
    level: float = 0.95,
) -> Interval:
    """Return the interval of the metric of arm `a` minus that of arm `b`.

    Both need the same sample seeds and blocks, and row r of both the same training seed: the
    variation that they share (an expert that both use, for example) cancels.
    """
    return jackknife_interval(paired_replicates(a, b), level)


@dataclass(frozen=True)
class JackknifeEstimates:
    """Values and errors of many metrics (or differences) at once, in float64."""

    value: Many
    se_sampling: Many
    se_training: Many  # nan with one training seed
    num_blocks: int
    num_training_seeds: int

    @classmethod
    def fit(
        cls, replicates: Float[Tensor, "*many training_seeds replicates"]
    ) -> "JackknifeEstimates":
        """Return the estimates from values under jackknife_weights.

        Raises ValueError if a value is not finite, or if there are fewer than two blocks.
        """
        if replicates.shape[-1] < 3:
            raise ValueError(
                f"replicates: wanted a value and at least 2 blocks, got {replicates.shape[-1]} "
                "numbers; use jackknife_weights"
            )
        by_training_seed, replicates = average_over_training_seeds(replicates)
        num_training_seeds, num_blocks = by_training_seed.shape[-1], replicates.shape[-1] - 1
        left_out = replicates[..., 1:]
        spread = ((left_out - left_out.mean(-1, keepdims=True)) ** 2).sum(-1)
        sampling = np.sqrt((num_blocks - 1) / num_blocks * spread)
        found = replicates[..., 0], sampling, training_standard_errors(by_training_seed)
        return cls(*map(np.asarray, found), num_blocks, num_training_seeds)

    def half_widths(self, level: float) -> Many:
        """Return half of the interval widths. Raises ValueError unless 0 < level < 1."""
        check_level(level)
        return self._half((1 - level) / 2)

    def p_values(self) -> Many:
        """Return p such that `half_widths(1 - p)` equals the absolute value, in [0, 1].

        p is 1 where the values of all blocks are equal up to rounding. Such a value (a proportion
        of reference points that are all covered many times, for example) has an error, but the
        blocks do not show it.
        """
        size = np.asarray(np.abs(self.value))
        with np.errstate(divide="ignore", invalid="ignore"):  # an error of 0 has no tail
            # Bounds: the half-width is at least its largest part, and at most that of equal parts.
            shared = np.asarray(size / math.sqrt(len(self._parts)))
            low, high = self._tail(size), self._tail(shared)
            for _ in range(60):
                middle = np.asarray(np.sqrt(low) * np.sqrt(high))
                is_wide = self._half(middle) > size
                low, high = np.where(is_wide, middle, low), np.where(is_wide, high, middle)
        is_seen = self.se_sampling > 1e-12 * size
        return np.where(is_seen & (size > 0), 2 * low, 1.0)

    @property
    def _parts(self) -> list[tuple[Many, int]]:
        """The standard errors and their degrees of freedom."""
        parts = [(self.se_sampling, self.num_blocks - 1)]
        return parts + [(self.se_training, self.num_training_seeds - 1)] * (
            self.num_training_seeds > 1
        )

    def _half(self, tail: Many | float) -> Many:
        squares = [(student_quantile(tail, freedom) * se) ** 2 for se, freedom in self._parts]
        return np.asarray(np.sqrt(np.sum(squares, axis=0)))

    def _tail(self, size: Many) -> Many:
        """Return the largest tail probability beyond `size` of the parts."""
        tails = [special.stdtr(freedom, -size / se) for se, freedom in self._parts]
        return np.asarray(np.max(tails, axis=0))
