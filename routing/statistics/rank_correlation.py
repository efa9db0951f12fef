"""Interval of Spearman's rank correlation rho of n pairs.

    z = artanh(rho) ,    se = ((1 + rho^2 / 2) / (n - 3))^(1/2) ,    tanh(z +- 1.96 se)

Source: Bonett and Wright 2000, Psychometrika 65:23, doi:10.1007/BF02294183. The pairs are taken
as independent draws of one distribution.
"""

import math

from scipy import special

from routing.statistics.intervals import check_level


def spearman_interval(rho: float, num: int, level: float = 0.95) -> tuple[float, float]:
    """Return the ends of the interval; nan if rho is nan or there are fewer than 4 pairs.

    At rho = +-1 the formula has no width. There the inner end is that of the next smaller |rho|,
    in which two neighbours are exchanged. Raises ValueError unless 0 < level < 1.
    """
    check_level(level)
    if num < 4 or math.isnan(rho):
        return math.nan, math.nan
    largest = 1 - 12 / (num * (num**2 - 1))
    inner = max(-largest, min(largest, rho))
    half = -special.ndtri((1 - level) / 2) * math.sqrt((1 + inner**2 / 2) / (num - 3))
    z = math.atanh(inner)
    low, high = math.tanh(z - half), math.tanh(z + half)
    return (-1.0 if rho <= -largest else low), (1.0 if rho >= largest else high)
