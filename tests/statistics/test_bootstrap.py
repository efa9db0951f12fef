"""The paired bootstrap: counts, centred intervals by hand, coverage over new seeds."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from routing.metrics.formulas.frechet_distance import FrechetReference, frechet_distance
from routing.statistics.bootstrap import bootstrap_counts, bootstrap_difference, bootstrap_interval


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def with_value(statistic, x, counts):
    """[1, 1 + draws]: all samples once, then the draws."""
    return statistic(x, torch.cat([torch.ones(1, len(x)).double(), counts]))[None]


def mean(x, w):
    return w @ x / w.sum(1)


def test_counts_are_multinomial():
    counts = bootstrap_counts(6, 20_000, np.random.default_rng(1))
    assert counts.dtype == torch.float64 and counts.shape == (20_000, 6)
    assert (counts.sum(1) == 6).all() and counts.min() == 0 and (counts == counts.round()).all()
    # Multinomial(6, 1/6): mean 1, variance 5/6, covariance -1/6; each mean has error 0.0065.
    expected = torch.eye(6).double() - 1 / 6
    assert counts.mean(0) == pytest.approx(1, abs=0.03)
    assert counts.T.cov() == pytest.approx(expected.numpy(), abs=0.04)


def test_more_draws_begin_with_the_same():
    few, many = (bootstrap_counts(9, num, np.random.default_rng(3)) for num in (4, 7))
    assert torch.equal(few, many[:4]) and not torch.equal(many[0], many[1])


def test_the_interval_is_centred_on_the_value_by_hand():
    """19 draws of mean 10 far from the value: h is the largest of 19 deviations at 95 %."""
    deviations = torch.tensor([float(d) for d in range(-9, 10)])
    deviations[0] = -30.0
    draws = 10 + deviations - deviations.mean()
    found = bootstrap_interval(torch.cat([torch.tensor([3.0]), draws])[None])
    spread = (deviations - deviations.mean()).double().numpy()
    assert found.se_sampling == pytest.approx(spread.std(ddof=1)) and math.isnan(found.se_training)
    assert found[:3] == pytest.approx((3, 3 - np.abs(spread).max(), 3 + np.abs(spread).max()))
    half = np.sort(np.abs(spread))[9]  # level 0.5: the 10th of 19
    draws = torch.cat([torch.tensor([3.0]), draws])[None]
    assert bootstrap_interval(draws, 0.5).hi == pytest.approx(3 + half)
    many = torch.tensor([[0.0, *(d * (-1) ** d for d in range(99))]])
    half = np.sort(np.abs(many[0, 1:] - many[0, 1:].mean()))[55]  # 0.56 * 100 is rounded up
    assert bootstrap_interval(many, 0.56).hi == pytest.approx(half.item())


def test_trainings_share_their_draws_and_have_a_part_of_their_own():
    """Draws that cancel in the mean of the trainings; values 10 and 14."""
    up = torch.arange(40.0)
    found = bootstrap_interval(
        torch.stack([torch.cat([torch.tensor([v]), s * up]) for v, s in ((10.0, 1), (14.0, -1))])
    )
    assert found.se_sampling == 0 and found.se_training == pytest.approx(2)
    assert found[:3] == pytest.approx((12, 12 - 2 * 12.7062, 12 + 2 * 12.7062), rel=1e-4)
    both = bootstrap_interval(
        torch.stack([torch.cat([torch.tensor([v]), up]) for v in (10.0, 14.0)])
    )
    assert both.se_sampling == pytest.approx(up.std().item())
    half = math.hypot(19.5, stats.t.ppf(0.975, 1) * 2)
    assert both.hi - both.value == pytest.approx(half) == both.value - both.lo


def test_a_difference_is_paired():
    common = torch.tensor([[5.0, *range(50)]])
    own = torch.tensor([[1.0, *(0.1 * (r % 7) for r in range(50))]])
    assert bootstrap_difference(common + own, common) == pytest.approx(
        bootstrap_interval(own), nan_ok=True, rel=1e-5
    )
    at = bootstrap_difference(common + own, common, 0.5)
    assert at == pytest.approx(bootstrap_interval(own, 0.5), nan_ok=True, rel=1e-5)
    assert at.hi < bootstrap_interval(own).hi
    with pytest.raises(ValueError, match="wanted the same shape for both arms"):
        bootstrap_difference(common, own[:, :30])


def test_the_standard_error_of_a_mean_is_the_textbooks(rng):
    x = normal(rng, 60)
    counts = bootstrap_counts(60, 4000, np.random.default_rng(0))
    found = bootstrap_interval(with_value(mean, x, counts))
    assert found.value == pytest.approx(x.mean().item())
    assert found.se_sampling == pytest.approx(x.std(correction=0).item() / 60**0.5, rel=0.04)


def test_the_interval_of_a_mean_covers_as_it_says(rng):
    hits, draws = 0, np.random.default_rng(5)
    for i in range(500):
        if i % 50 == 0:  # sets may share their draws, as arms do
            counts = bootstrap_counts(80, 399, draws)
        x = torch.empty(80, dtype=torch.float64).exponential_(generator=rng)
        found = bootstrap_interval(with_value(mean, x, counts))
        hits += found.lo <= 1 <= found.hi
    assert 0.91 <= hits / 500 <= 0.97


def test_a_biased_distance_is_covered_where_percentiles_and_basic_intervals_miss(rng):
    """A Frechet distance near zero: the draws' own bias moves the other two off the target."""
    reference, n, sets = FrechetReference.fit(normal(rng, 4000, 6)), 100, 100
    counts = bootstrap_counts(n, 99, np.random.default_rng(2))
    one = torch.ones(1, n)
    target = np.mean(
        [frechet_distance(normal(rng, n, 6), reference, one).item() for _ in range(600)]
    )
    hits = {"ours": 0, "percentile": 0, "basic": 0}
    for _ in range(sets):
        x = normal(rng, n, 6)
        replicates = with_value(lambda x, w: frechet_distance(x, reference, w), x, counts)
        found = bootstrap_interval(replicates)
        low, high = np.quantile(replicates[0, 1:].numpy(), [0.025, 0.975])
        hits["ours"] += found.lo <= target <= found.hi
        hits["percentile"] += low <= target <= high
        hits["basic"] += 2 * found.value - high <= target <= 2 * found.value - low
    assert hits["ours"] / sets >= 0.92
    assert hits["percentile"] / sets < 0.5 and hits["basic"] / sets < 0.5


def test_the_difference_of_two_arms_covers_and_is_narrow(rng):
    """Common seeds: the bias of the draws cancels, and the interval is far narrower."""
    reference, n, sets = FrechetReference.fit(normal(rng, 2000, 3)), 100, 100
    counts = bootstrap_counts(n, 99, np.random.default_rng(2))
    distance = lambda x: with_value(lambda x, w: frechet_distance(x, reference, w), x, counts)  # noqa: E731
    values, found, widths = [], [], []
    for i in range(sets):
        x = normal(rng, n, 3)
        a, b = distance(1.05 * x + 0.3), distance(x + 0.2)
        found.append(bootstrap_difference(a, b))
        values.append(found[-1].value)
        if i % 5:
            continue
        unpaired = bootstrap_difference(a, distance(normal(rng, n, 3) + 0.2))
        widths.append((unpaired.hi - unpaired.lo) / (found[-1].hi - found[-1].lo))
    target = np.mean(values)
    assert np.mean([f.se_sampling for f in found]) == pytest.approx(np.std(values), rel=0.25)
    assert np.mean([f.lo <= target <= f.hi for f in found]) >= 0.89
    assert np.median(widths) > 1.5


def test_what_cannot_be_is_refused():
    rng = np.random.default_rng(0)
    for size in ((1, 10), (10, 1)):
        with pytest.raises(ValueError, match="at least 2 samples and 2 draws, got"):
            bootstrap_counts(*size, rng)
    with pytest.raises(ValueError, match="at least 19 draws for level 0.95, got 18"):
        bootstrap_interval(torch.ones(1, 19))
    bootstrap_interval(torch.ones(1, 20))
    bootstrap_interval(torch.ones(1, 10), 0.9)  # 0.9 / (1 - 0.9) is rounded to more than 9
    with pytest.raises(ValueError, match="at least 9 draws for level 0.9, got 8"):
        bootstrap_interval(torch.ones(1, 9), 0.9)
    with pytest.raises(ValueError, match="at least 2 draws for level 0.3, got 1"):
        bootstrap_interval(torch.ones(1, 2), 0.3)
    with pytest.raises(ValueError, match="at least 99 draws for level 0.99, got 40"):
        bootstrap_interval(torch.ones(1, 41), 0.99)
    with pytest.raises(ValueError, match="wanted finite numbers, got nan"):
        bootstrap_interval(torch.tensor([[1.0] * 30 + [math.nan]]))
    with pytest.raises(ValueError, match="level: wanted a probability"):
        bootstrap_interval(torch.ones(1, 30), 1.0)
