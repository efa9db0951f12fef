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
large rather than too small on average, by up to twice for a distance that is all but zero, by
three to five times for recall and coverage, which leave-one-out sees jump: of small differences
in them little can be said.

Where everything was trained R times and every training drew the same seeds, T is the mean of the
trainings' T_r, se_sampling is the jackknife's for that mean, and what retraining would change has
its own part, with half-widths added in squares:

    se_training^2 = sum_r (T_r - T)^2 / (R (R - 1)) ,
    half^2        = (t_{B-1} se_sampling)^2 + (t_{R-1} se_training)^2

Noise of the seeds that differs between trainings is in both parts: conservative. With R = 1 there
is no second part, and the interval does not speak of retraining.

The p value of T = 0 is read off the interval: 1 - p is the level at which it ends at zero, so
p < 0.05 says what the 95 % interval says. With one training it is that of Student's t test.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import special
from torch import Tensor

from routing.statistics.too_few import TooFew

Many = Float[np.ndarray, "*many"]


class Interval(NamedTuple):
    """A value, the ends of its interval and its two errors, all in the units of the metric."""

    value: float
    lo: float
    hi: float
    se_sampling: float
    se_training: float  # nan where there was one training


def seed_blocks(num_samples: int, num_blocks: int) -> Int[Tensor, " samples"]:
    """Block of every sample: consecutive seeds, equal sizes. ValueError if that cannot be."""
    if num_samples < 2:
        raise TooFew(f"num_blocks: wanted 2 samples at least, got {num_samples}; draw more")
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
    found = Estimates.fit(replicates)
    half = found.half_widths(level).item()
    value = found.value.item()
    errors = found.se_sampling.item(), found.se_training.item()
    return Interval(value, value - half, value + half, *errors)


def interval_p_value(replicates: Float[Tensor, "trainings replicates"]) -> float:
    """The p at which the interval of level 1 - p ends at zero: of `the metric is zero`.

    For a difference, hand over a - b, paired as in paired_difference. ValueError if not finite.
    """
    return Estimates.fit(replicates).p_values().item()


def paired_difference(
    a: Float[Tensor, "a_trainings a_replicates"],
    b: Float[Tensor, "b_trainings b_replicates"],
    level: float = 0.95,
) -> Interval:
    """Interval of the metric of arm `a` minus that of arm `b`.

    Same seeds, same blocks, and row r of both from the same training: what they have in common
    (an expert that both ask, say) cancels.
    """
    return jackknife_interval(paired(a, b), level)


def paired(
    a: Float[Tensor, "a_trainings a_replicates"], b: Float[Tensor, "b_trainings b_replicates"]
) -> Float[Tensor, "a_trainings a_replicates"]:
    """a - b; ValueError where they do not have as many trainings and replicates."""
    if a.shape != b.shape:
        raise ValueError(
            f"replicates: wanted as many for both arms, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}; cut both into the same blocks"
        )
    return a - b


@dataclass(frozen=True)
class Estimates:
    """Values of many metrics (or differences, pairs ...) at once, with both errors; float64."""

    value: Many
    se_sampling: Many
    se_training: Many  # nan where there was one training
    num_blocks: int
    num_training_seeds: int

    @classmethod
    def fit(cls, replicates: Float[Tensor, "*many trainings replicates"]) -> "Estimates":
        """From values under jackknife_weights. ValueError if not finite or below two blocks."""
        if replicates.shape[-1] < 3:
            raise ValueError(
                f"replicates: wanted a value and at least 2 blocks, got {replicates.shape[-1]} "
                "numbers; use jackknife_weights"
            )
        of_training, replicates = over_trainings(replicates)
        num_training_seeds, num_blocks = of_training.shape[-1], replicates.shape[-1] - 1
        left_out = replicates[..., 1:]
        spread = ((left_out - left_out.mean(-1, keepdims=True)) ** 2).sum(-1)
        sampling = np.sqrt((num_blocks - 1) / num_blocks * spread)
        found = replicates[..., 0], sampling, training_errors(of_training)
        return cls(*map(np.asarray, found), num_blocks, num_training_seeds)

    def half_widths(self, level: float) -> Many:
        """Half of the interval. ValueError on a level that is no probability."""
        return self._half((1 - checked_level(level)) / 2)

    def p_values(self) -> Many:
        """Where `half_widths` of level 1 - p are the absolute values, in [0, 1].

        1 where the values of all blocks are the same to rounding: what does not vary from block
        to block (a share of reference points all covered many times) has an error all the same,
        which blocks do not show.
        """
        size = np.asarray(np.abs(self.value))
        with np.errstate(divide="ignore", invalid="ignore"):  # no error: beyond all tails
            # The half-width is at least its largest part, and at most as if all were that large.
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
        """Standard errors and their degrees of freedom."""
        parts = [(self.se_sampling, self.num_blocks - 1)]
        return parts + [(self.se_training, self.num_training_seeds - 1)] * (
            self.num_training_seeds > 1
        )

    def _half(self, tail: Many | float) -> Many:
        squares = [(quantile(tail, freedom) * se) ** 2 for se, freedom in self._parts]
        return np.asarray(np.sqrt(np.sum(squares, axis=0)))

    def _tail(self, size: Many) -> Many:
        """The largest of the parts' tails beyond `size`."""
        tails = [special.stdtr(freedom, -size / se) for se, freedom in self._parts]
        return np.asarray(np.max(tails, axis=0))


def over_trainings(
    replicates: Float[Tensor, "*many trainings replicates"],
) -> tuple[Float[np.ndarray, "*many trainings"], Float[np.ndarray, "*many replicates"]]:
    """Values by training, and all replicates as means over the trainings; float64.

    ValueError if not finite.
    """
    if not replicates.isfinite().all():
        raise ValueError(
            f"replicates: wanted finite numbers, got {replicates[~replicates.isfinite()][0]}; "
            "an infinite metric has no interval"
        )
    replicates = replicates.double()
    return replicates[..., 0].numpy(), replicates.mean(-2).numpy()


def training_errors(of_training: Float[np.ndarray, "*many trainings"]) -> Many:
    """Standard errors of means over trainings; nan where there was one."""
    num = of_training.shape[-1]
    if num == 1:
        return np.full(of_training.shape[:-1], np.nan)
    return np.asarray(of_training.std(-1, ddof=1) / math.sqrt(num))


def checked_level(level: float) -> float:
    """`level` if it is one; else ValueError."""
    if not 0 < level < 1:
        raise ValueError(f"level: wanted a probability inside (0, 1), got {level}; 0.95 is usual")
    return level


def quantile(tail: Many | float, freedom: int) -> Many | float | np.floating:
    """What Student's law exceeds with probability `tail`."""
    return -special.stdtrit(freedom, tail)
