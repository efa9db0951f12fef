"""Intervals of proportions (shares of rare classes, agreement) and of their paired differences.

Given the networks, samples are independent. So of n samples, the number x of a category is
binomial, and x is enough for an interval. The jackknife over blocks of seeds has too little to go
on where x is small: at an expected x of 1 its 95 % intervals cover 62 %, and at x = 0 they have no
width. Here

    x or n - x below 10   Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404
    otherwise             Wilson 1927, doi:10.1080/01621459.1927.10502953

For two arms with the same seeds, b samples are of the category in the first arm only and c in the
second only. The difference (b - c) / n has the score interval of Tango 1998 (Statist. Med.
17:891): all differences D with |b - c - n D| <= z sd(D), where sd(D) is that of the most likely
probabilities with difference D. Its p value is that of McNemar's exact test,
Binomial(b + c, 1/2); near 0.05 the two may disagree, and the p value decides.

A metric may be a proportion times a known scale (`cluster_coverage`: 1 / the cluster's share of
the training images). If the scales of two arms differ, the interval of the difference is made of
those of the arms (Newcombe 1998, Statist. Med. 17:2635, method 8), and p is the level at which it
ends at zero.

With R training seeds the halves of the intervals are averaged over them and multiplied by D^(1/2).
D, in 1/R..1, is the variance of the mean over training seeds relative to that of one training
seed, both by the jackknife. Below 10 samples D cannot be estimated and is 1, which is
conservative. Retraining adds se_training in squares (`routing.statistics.intervals`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import special
from torch import Tensor

from routing.statistics.intervals import (
    Interval,
    Many,
    average_over_training_seeds,
    check_level,
    student_quantile,
    training_standard_errors,
)
from routing.statistics.jackknife import JackknifeEstimates

FEW = 10  # below this count, exact intervals, and no estimate of D
Z_95 = -special.ndtri(0.025)
Counts = Float[np.ndarray, "*many training_seeds"]
Tail = Float[np.ndarray, "..."] | float
Ends = tuple[Counts, Counts]  # of the intervals of each training seed


@dataclass(frozen=True, eq=False)
class Proportion:
    """Which samples a metric counts; its value is the mean over r of scale[r] * hits[r].mean()."""

    rows: Int[np.ndarray, " hits"]  # r * num_samples + sample
    num_samples: int
    scale: Float[np.ndarray, " training_seeds"]

    def hits(self) -> Bool[np.ndarray, "training_seeds samples"]:
        """Return whether each sample is counted."""
        found = np.zeros((len(self.scale), self.num_samples), dtype=bool)
        found.reshape(-1)[self.rows] = True
        return found


@dataclass(frozen=True)
class ProportionEstimates:
    """Values, intervals and p values of many proportions or differences at once."""

    value: Many
    se_training: Many  # nan with one training seed
    by_training_seed: Counts
    design: Many  # D
    ends: Callable[[Tail], Ends]  # tail probability -> intervals by training seed
    p_exact: Many | None = None

    @property
    def num_training_seeds(self) -> int:
        """Return R."""
        return self.by_training_seed.shape[-1]

    @property
    def se_sampling(self) -> Many:
        """Return half the width of the 95 % interval of sampling, over 1.96."""
        below, above = self._sampling_halves(0.025)
        return np.asarray((below + above) / 2 / Z_95)

    def halves(self, level: float) -> tuple[Many, Many]:
        """Return how far the interval reaches below and above the value."""
        check_level(level)
        return self._halves((1 - level) / 2)

    def p_values(self) -> Many:
        """Return the exact p values, or else p such that the interval of 1 - p ends at zero."""
        if self.p_exact is not None:
            return self.p_exact
        low, high = np.full(self.value.shape, 1e-30), np.full(self.value.shape, 0.5)
        for _ in range(40):
            middle = np.sqrt(low * high)
            below, above = self._halves(middle)
            is_wide = np.where(self.value > 0, below, above) > np.abs(self.value)
            low, high = np.where(is_wide, middle, low), np.where(is_wide, high, middle)
        return np.where(self.value == 0, 1.0, np.minimum(1, 2 * low))

    def _sampling_halves(self, tail: Many | float) -> tuple[Many, Many]:
        lo, hi = self.ends(np.asarray(tail)[..., None])
        root = np.sqrt(self.design)
        below = root * (self.by_training_seed - lo).mean(-1)
        above = root * (hi - self.by_training_seed).mean(-1)
        return np.asarray(np.maximum(below, 0)), np.asarray(np.maximum(above, 0))

    def _halves(self, tail: Many | float) -> tuple[Many, Many]:
        below, above = self._sampling_halves(tail)
        if self.num_training_seeds > 1:
            training = student_quantile(tail, self.num_training_seeds - 1) * self.se_training
            below, above = np.hypot(below, training), np.hypot(above, training)
        return np.asarray(below), np.asarray(above)


def proportion_interval(
    proportion: Proportion,
    replicates: Float[Tensor, "training_seeds replicates"],
    level: float = 0.95,
) -> Interval:
    """Return the interval of a proportion; `replicates` are its values under jackknife_weights.

    Raises ValueError unless 0 < level < 1.
    """
    x, n, scale = proportion.hits().sum(1).astype(float), proportion.num_samples, proportion.scale

    def ends(tail: Tail) -> Ends:
        lo, hi = binomial_ends(x, n, tail)
        return scale * lo, scale * hi

    is_few = np.minimum(x, n - x).mean() < FEW
    return _interval(_estimates(replicates, is_few, ends), level)


def proportion_difference(
    a: Proportion,
    b: Proportion,
    replicates: Float[Tensor, "training_seeds replicates"],
    level: float = 0.95,
) -> Interval:
    """Return the interval of proportion `a` minus `b`; `replicates` are those of the difference.

    Both have the same samples and training seeds. Raises ValueError unless 0 < level < 1.
    """
    found = proportion_differences([a, b], [0], [1], replicates[None])
    return _interval(found, level)


def proportion_differences(
    arms: list[Proportion],
    i: Int[np.ndarray, " pairs"] | list[int],
    j: Int[np.ndarray, " pairs"] | list[int],
    replicates: Float[Tensor, "pairs training_seeds replicates"],
) -> ProportionEstimates:
    """Return the estimates of arm i minus arm j for many pairs; `replicates` of differences."""
    n = arms[0].num_samples
    hits = torch.from_numpy(np.stack([arm.hits() for arm in arms])).double()
    both = torch.einsum("irn,jrn->ijr", hits, hits).numpy()
    scale = np.stack([arm.scale for arm in arms])
    count = hits.sum(-1).numpy()
    x, y, xy, s, t = count[i], count[j], both[i, j], scale[i], scale[j]
    only_x, only_y = x - xy, y - xy

    def ends(tail: Tail) -> Ends:
        lo, hi = tango_ends(only_x, only_y, n, tail)
        if (s == t).all():
            return s * lo, s * hi
        low, high = newcombe_ends((x, s), (y, t), n, tail)
        return np.where(s == t, s * lo, low), np.where(s == t, s * hi, high)

    is_few = (only_x + only_y).mean(-1) < FEW
    is_exact = s.shape[-1] == 1 and (s == t).all()
    p_exact = mcnemar_p_values(only_x[..., 0], only_y[..., 0]) if is_exact else None
    return _estimates(replicates, is_few, ends, p_exact)


def binomial_ends(x: Counts, n: int, tail: Tail) -> Ends:
    """Return the ends of the interval of each probability, for `x` of `n` samples."""
    p, z = x / n, -special.ndtri(tail)
    centre = (x + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(n * p * (1 - p) + z**2 / 4)
    with np.errstate(invalid="ignore"):
        exact_lo = np.where(x > 0, special.betaincinv(np.maximum(x, 1), n - x + 1, tail), 0.0)
        exact_hi = np.where(x < n, special.betaincinv(x + 1, np.maximum(n - x, 1), 1 - tail), 1.0)
    is_few = np.minimum(x, n - x) < FEW
    return np.where(is_few, exact_lo, centre - half), np.where(is_few, exact_hi, centre + half)


def tango_ends(b: Counts, c: Counts, n: int, tail: Tail) -> Ends:
    """Return the ends of Tango's interval of (b - c) / n, by bisection."""
    z, value = -special.ndtri(tail), (b - c) / n

    def solve(far: float, sign: float) -> Counts:
        inside, outside = value + 0 * z, np.full(np.broadcast(value, z).shape, far)
        for _ in range(50):
            middle = (inside + outside) / 2
            is_inside = sign * _tango_statistic(b, c, n, middle) <= z
            inside = np.where(is_inside, middle, inside)
            outside = np.where(is_inside, outside, middle)
        return inside

    return solve(-1.0, 1.0), solve(1.0, -1.0)


def newcombe_ends(
    first: tuple[Counts, Counts], second: tuple[Counts, Counts], n: int, tail: Tail
) -> Ends:
    """Return the ends of the interval of  s x / n - t y / n , for (x, s) and (y, t).

    Departs from Newcombe's method 10: x and y are taken as independent, because they count
    different categories.
    """
    (x, s), (y, t) = first, second
    (x_lo, x_hi), (y_lo, y_hi) = binomial_ends(x, n, tail), binomial_ends(y, n, tail)
    value = s * x / n - t * y / n
    below = np.hypot(s * (x / n - x_lo), t * (y_hi - y / n))
    above = np.hypot(s * (x_hi - x / n), t * (y / n - y_lo))
    return value - below, value + above


def mcnemar_p_values(b: Many, c: Many) -> Many:
    """Return the two-sided p values of McNemar's exact test; 1 where b = c."""
    return np.minimum(1, 2 * special.bdtr(np.minimum(b, c), (b + c).astype(int), 0.5))


def _tango_statistic(b: Counts, c: Counts, n: int, d: Counts) -> Counts:
    """Return (b - c - n d) / sd(d), with the most likely probability q of c given d."""
    linear = (2 * n - b + c) * d - b - c
    root = np.sqrt(np.maximum(linear**2 + 8 * n * c * d * (1 - d), 0))
    variance = n * (2 * (root - linear) / (4 * n) + d * (1 - d))
    gap = b - c - n * d
    sd = np.sqrt(np.maximum(variance, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(np.abs(gap) < 1e-12 * n, 0.0, gap / sd)


def _estimates(replicates, is_few, ends, p_exact=None) -> ProportionEstimates:
    by_training_seed, means = average_over_training_seeds(replicates)
    design = np.ones(means.shape[:-1])
    num = by_training_seed.shape[-1]
    if num > 1:
        of_mean = JackknifeEstimates.fit(replicates).se_sampling ** 2
        of_one = (JackknifeEstimates.fit(replicates[..., None, :]).se_sampling ** 2).mean(-1)
        ratio = np.divide(of_mean, of_one, out=np.ones_like(design), where=of_one > 0)
        design = np.where(is_few, 1.0, ratio.clip(1 / num, 1))
    errors = training_standard_errors(by_training_seed)
    return ProportionEstimates(means[..., 0], errors, by_training_seed, design, ends, p_exact)


def _interval(found: ProportionEstimates, level: float) -> Interval:
    below, above = (half.item() for half in found.halves(level))
    value = found.value.item()
    errors = found.se_sampling.item(), found.se_training.item()
    return Interval(value, value - below, value + above, *errors)
