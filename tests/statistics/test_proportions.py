"""Intervals of proportions: by scipy, by brute force, and by simulation of their coverage."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from routing.statistics.comparisons import pairwise_comparisons
from routing.statistics.jackknife import jackknife_weights, seed_blocks
from routing.statistics.proportions import (
    Proportion,
    binomial_ends,
    mcnemar_p_values,
    proportion_difference,
    proportion_differences,
    proportion_interval,
    tango_ends,
)

NUM = 400
WEIGHTS = jackknife_weights(seed_blocks(NUM, 20))


def counted(hits, scale=1.0):
    """The proportion of `hits` [training seeds, samples], and its jackknife replicates."""
    hits = np.atleast_2d(hits)
    scales = np.full(len(hits), scale)
    replicates = torch.from_numpy(scale * hits.astype(float)) @ WEIGHTS.T / WEIGHTS.sum(1)
    return Proportion(np.flatnonzero(hits), hits.shape[1], scales), replicates


def difference(a, b, scales=(1.0, 1.0)):
    (first, x), (second, y) = (counted(hits, s) for hits, s in zip((a, b), scales, strict=True))
    return proportion_difference(first, second, x - y)


@pytest.mark.parametrize("x", [0, 1, 9, 10, 11, 200, 390, 391, 400])
def test_one_proportion_is_that_of_scipy(x):
    method = "exact" if min(x, 400 - x) < 10 else "wilson"
    expected = stats.binomtest(x, 400).proportion_ci(0.95, method)
    lo, hi = binomial_ends(np.array([float(x)]), 400, 0.025)
    assert (lo.item(), hi.item()) == pytest.approx((expected.low, expected.high), abs=1e-12)
    found = proportion_interval(*counted(np.arange(400) < x, 3.0))
    assert found[:3] == pytest.approx((3 * x / 400, 3 * expected.low, 3 * expected.high))
    assert found.se_sampling == pytest.approx(3 * (expected.high - expected.low) / 2 / 1.959964)
    assert math.isnan(found.se_training)


@pytest.mark.parametrize(("b", "c", "n"), [(5, 2, 40), (30, 12, 100), (1, 0, 30), (0, 7, 50)])
def test_a_difference_ends_where_the_likeliest_probabilities_just_allow_it(b, c, n):
    """By brute force: the likelihood of (b, c, rest) is maximised at each end."""
    for d, sign in zip(
        tango_ends(*map(np.array, ([b * 1.0], [c * 1.0])), n, 0.025), (1, -1), strict=True
    ):
        d = d.item()

        def minus_log_likelihood(q, d=d):
            terms = (b, q + d), (c, q), (n - b - c, 1 - 2 * q - d)
            return -sum(k * math.log(max(p, 1e-300)) for k, p in terms)

        bounds = max(0, -d), (1 - d) / 2
        options = {"xatol": 1e-12}
        q = optimize.minimize_scalar(
            minus_log_likelihood, bounds=bounds, method="bounded", options=options
        ).x
        z = (b - c - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))
        assert sign * z == pytest.approx(1.959964, rel=1e-4)


def test_equal_samples_have_an_interval_with_width():
    """Without a pair that differs, Tango's interval is +- z^2 / (n + z^2)."""
    same = np.arange(NUM) < 3
    found, z = difference(same, same), 1.959964
    assert found.value == 0 and found.hi == pytest.approx(z**2 / (NUM + z**2), rel=1e-5)
    assert found.lo == pytest.approx(-found.hi)


def test_p_values_are_those_of_the_binomial():
    for b, c in ((0, 0), (1, 0), (5, 5), (6, 0), (3, 14), (40, 20)):
        expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
        assert mcnemar_p_values(np.array([b * 1.0]), np.array([c * 1.0])) == pytest.approx(
            expected
        )


@pytest.mark.parametrize("expected", [0.5, 1, 2, 5, 20])
def test_shares_of_rare_classes_cover_as_they_say(expected):
    rng, p = np.random.default_rng(1), expected / NUM
    found = [proportion_interval(*counted(rng.random(NUM) < p)) for _ in range(400)]
    assert all(f.lo < f.hi for f in found)
    assert 0.93 <= np.mean([f.lo <= p <= f.hi for f in found]) <= (1 if expected < 10 else 0.975)


@pytest.mark.parametrize("only", [(0.5, 0.5), (1, 0), (2, 1), (6, 2), (30, 20)], ids=str)
def test_differences_of_shares_cover_as_they_say(only):
    """`only`: expected numbers of samples that one arm alone counts."""
    rng, truth = np.random.default_rng(2), (only[0] - only[1]) / NUM
    u = rng.random((2000, NUM))
    common = u > 0.99
    a = (u < only[0] / NUM) | common
    b = ((u > 0.5) & (u < 0.5 + only[1] / NUM)) | common
    b_only, c_only = ((x & ~y).sum(1).astype(float) for x, y in ((a, b), (b, a)))
    lo, hi = tango_ends(b_only, c_only, NUM, 0.025)
    for k in range(5):
        assert difference(a[k], b[k])[1:3] == pytest.approx((lo[k], hi[k]))
    assert (lo < hi).all()
    covered = ((lo <= truth) & (truth <= hi)).mean()
    assert 0.935 <= covered <= (0.965 if min(only) >= 10 else 1)


@pytest.mark.parametrize("discordant", [1, 8, 40])
def test_equal_arms_are_told_apart_no_more_often_than_said(discordant):
    rng = np.random.default_rng(3)
    u = rng.random((2000, NUM))
    a, b = u < discordant / 2 / NUM, u > 1 - discordant / 2 / NUM
    p = mcnemar_p_values(a.sum(1).astype(float), b.sum(1).astype(float))
    for k in range(5):
        (first, x), (second, y) = counted(a[k]), counted(b[k])
        arms = {"a": first, "b": second}
        (pair,) = pairwise_comparisons({"a": x, "b": y}, None, None, "b", rng, arms)
        assert pair.test == "McNemar" and pair.lo <= pair.value <= pair.hi
        assert pair.p == pytest.approx(p[k]) and pair.se_sampling > 0
    assert (p <= 0.05).mean() <= 0.055
    assert discordant < 40 or (p <= 0.05).mean() > 0.02


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize("common", [0.0, 1.0])
def test_several_trainings_cover_what_retraining_and_new_seeds_would_give(count, common):
    """Four trainings, whose samples have nothing or all in common but the share itself."""
    rng, p, found = np.random.default_rng(4), count / NUM, []
    for _ in range(300):
        own, shared = rng.random((4, NUM)), rng.random(NUM)
        u = shared if common else own
        shares = p * (1 + 0.2 * rng.standard_normal((4, 1)))
        found.append(proportion_interval(*counted(u + 0 * own < shares)))
    assert 0.93 <= np.mean([f.lo <= p <= f.hi for f in found])
    se = math.sqrt(p * (1 - p) / NUM / (1 if common else 4))
    if count > 10:  # neither four times as many samples as there are, nor only one training
        assert np.mean([f.se_sampling for f in found]) == pytest.approx(se, rel=0.1)


def test_different_scales_cover_as_they_say():
    """The worst clusters of two arms: each counts its own samples, at its own scale."""
    rng, s, t, found = np.random.default_rng(5), 10.0, 4.0, []
    for _ in range(300):
        u = rng.random(NUM)
        found.append(difference(u < 0.005, u > 0.95, (s, t)))
    truth = 0.005 * s - 0.05 * t
    assert 0.93 <= np.mean([f.lo <= truth <= f.hi for f in found]) <= 0.985


def test_without_exact_p_values_p_is_where_the_interval_ends_at_zero():
    rng = np.random.default_rng(6)
    u = rng.random((3, NUM))
    (first, x), (second, y) = counted(u < 0.12), counted(u > 0.92)
    for a, b, change in ((first, second, x - y), (second, first, y - x)):
        found = proportion_differences([a, b], [0], [1], change[None])
        assert found.p_exact is None
        p = found.p_values().item()
        assert 1e-6 < p < 0.5
        ends = proportion_difference(a, b, change, 1 - p)
        assert min(abs(ends.lo), abs(ends.hi)) == pytest.approx(0, abs=1e-6)
