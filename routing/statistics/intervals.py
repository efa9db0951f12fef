"""Intervals of metrics, and the parts that the jackknife and the bootstrap share.

If everything was trained with R training seeds, and each training used the same sample seeds, the
metric is the mean T of the values T_r of the runs. Retraining adds a second error,

    se_training^2 = sum_r (T_r - T)^2 / (R (R - 1)) ,

with R - 1 degrees of freedom. Half-widths of intervals are added in squares. With R = 1 there is
no second error, and the interval does not include the effect of retraining.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import special
from torch import Tensor

Many = Float[np.ndarray, "*many"]


class Interval(NamedTuple):
    """A value, the ends of its interval and its two errors, all in the units of the metric."""

    value: float
    lo: float
    hi: float
    se_sampling: float
    se_training: float  # nan with one training seed


def average_over_training_seeds(
    replicates: Float[Tensor, "*many training_seeds replicates"],
) -> tuple[Float[np.ndarray, "*many training_seeds"], Float[np.ndarray, "*many replicates"]]:
    """Return replicate 0 by training seed, and all replicates averaged over them, in float64.

    Raises ValueError if a number is not finite.
    """
    if not replicates.isfinite().all():
        raise ValueError(
            f"replicates: wanted finite numbers, got {replicates[~replicates.isfinite()][0]}; "
            "an infinite metric has no interval"
        )
    replicates = replicates.double()
    return replicates[..., 0].numpy(), replicates.mean(-2).numpy()


def training_standard_errors(by_training_seed: Float[np.ndarray, "*many training_seeds"]) -> Many:
    """Return standard errors of means over training seeds; nan where there is one."""
    num = by_training_seed.shape[-1]
    if num == 1:
        return np.full(by_training_seed.shape[:-1], np.nan)
    return np.asarray(by_training_seed.std(-1, ddof=1) / math.sqrt(num))


def paired_replicates(
    a: Float[Tensor, "a_training_seeds a_replicates"],
    b: Float[Tensor, "b_training_seeds b_replicates"],
) -> Float[Tensor, "a_training_seeds a_replicates"]:
    """Return a - b. Raises ValueError unless both have the same shape."""
    if a.shape != b.shape:
        raise ValueError(
            f"replicates: wanted the same shape for both arms, got {tuple(a.shape)} and "
            f"{tuple(b.shape)}; use the same training seeds and replicates for both"
        )
    return a - b


def check_level(level: float) -> None:
    """Raise ValueError unless 0 < level < 1."""
    if not 0 < level < 1:
        raise ValueError(f"level: wanted a probability inside (0, 1), got {level}; 0.95 is usual")


def student_quantile(tail: Many | float, degrees_of_freedom: int) -> Many | float | np.floating:
    """Return the value that Student's t distribution exceeds with probability `tail`."""
    return -special.stdtrit(degrees_of_freedom, tail)
