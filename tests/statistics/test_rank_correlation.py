"""The interval of the rank correlation, by simulation of its coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from routing.statistics.rank_correlation import spearman_interval


@pytest.mark.parametrize("num", [8, 18])
@pytest.mark.parametrize("r", [0.0, 0.5, -0.8])
def test_the_interval_covers_as_it_says(num, r):
    """Of normal pairs with correlation r, rho is 6 / pi arcsin(r / 2)."""
    rng, truth, covered, widths = np.random.default_rng(0), 6 / math.pi * math.asin(r / 2), [], []
    x, noise = rng.standard_normal((2, 1000, num))
    y = r * x + math.sqrt(1 - r**2) * noise
    for a, b in zip(x, y, strict=True):
        lo, hi = spearman_interval(stats.spearmanr(a, b).statistic, num)
        covered.append(lo <= truth <= hi)
        widths.append(hi - lo)
    assert min(widths) > 0
    assert 0.93 <= np.mean(covered) <= 0.975


def test_the_interval_by_hand():
    half = 1.959964 * math.sqrt((1 + 0.6**2 / 2) / 15)
    expected = [math.tanh(math.atanh(0.6) + sign * half) for sign in (-1, 1)]
    assert spearman_interval(0.6, 18) == pytest.approx(expected)
    lo, hi = spearman_interval(1.0, 10)
    assert hi == 1 and 0.8 < lo < 1 and spearman_interval(-1.0, 10) == (-1, -lo)
    assert np.isnan([*spearman_interval(0.5, 3), *spearman_interval(math.nan, 9)]).all()
    with pytest.raises(ValueError, match="level: wanted a probability"):
        spearman_interval(0.5, 9, 1.0)
