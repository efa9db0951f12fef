"""Which arms can be told apart: Holm by hand, sign flips by scipy, every pair once."""

import numpy as np
import pytest
import torch
from scipy.stats import permutation_test

from routing.comparisons import cliques, comparisons, holm
from routing.intervals import interval_p_value, jackknife_interval, paired_difference
from routing.permutation import sign_flip_p_value


def arms(rng, shifts, trainings=1, blocks=8):
    common = torch.randn(trainings, blocks + 1, generator=rng, dtype=torch.float64)
    own = lambda: 0.1 * torch.randn(trainings, blocks + 1, generator=rng, dtype=torch.float64)  # noqa: E731
    return {name: common + own() + shift for name, shift in shifts.items()}


def test_holm_is_the_step_down_by_hand():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    with pytest.raises(ValueError, match="holm: wanted p values in"):
        holm(np.array([0.1, np.nan]))


@pytest.mark.parametrize("trainings", [1, 3])
def test_every_pair_is_the_paired_difference_with_its_p_value(trainings, rng):
    found = arms(rng, {"a": 0.0, "b": 0.2, "c": 3.0}, trainings)
    made = comparisons(found, None, None, "b", np.random.default_rng(0))
    assert {(c.arm, c.other) for c in made} == {("a", "b"), ("a", "c"), ("c", "b")}
    for c in made:
        interval = paired_difference(found[c.arm], found[c.other])
        assert (c.value, c.lo, c.hi) == pytest.approx(interval[:3])
        assert c.p == pytest.approx(interval_p_value(found[c.arm] - found[c.other]), abs=1e-9)
        assert c.is_distinguishable == (c.p_holm <= 0.05)
        assert np.isnan(c.p_holm_reference) == ("b" not in (c.arm, c.other))
        assert np.isnan(c.se_training) == (trainings == 1) and c.test == "seed blocks"
    p = np.array([c.p for c in made])
    assert [c.p_holm for c in made] == pytest.approx(holm(p).tolist())


def test_the_p_value_is_where_the_interval_touches_zero(rng):
    one = arms(rng, {"a": 0.05}, 3)["a"]
    p = interval_p_value(one)
    interval = jackknife_interval(one, level=1 - p)
    assert min(abs(interval.lo), abs(interval.hi)) == pytest.approx(0, abs=1e-6)


def test_the_bootstrap_error_is_the_spread_of_the_paired_draws(rng):
    found = arms(rng, {"a": 0.0, "b": 0.2})
    draws = arms(rng, {"a": 0.0, "b": 0.2}, blocks=50)
    (c,) = comparisons(found, draws, None, "b", np.random.default_rng(0))
    expected = (draws["a"] - draws["b"])[0, 1:].std().item()
    assert c.se_bootstrap == pytest.approx(expected)


def test_sign_flips_are_those_of_scipy(rng):
    a = torch.randn(9, generator=rng, dtype=torch.float64) + 0.4
    b = torch.randn(9, generator=rng, dtype=torch.float64)
    expected = permutation_test(
        (a.numpy(), b.numpy()), lambda x, y: np.mean(x - y), permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue  # fmt: skip
    found = sign_flip_p_value(a[None], b[None], 10_000, np.random.default_rng(0))
    assert found == pytest.approx(expected, abs=0.02)
    assert sign_flip_p_value(a[None], a[None], 1000, np.random.default_rng(0)) == 1
    far = sign_flip_p_value(
        a.repeat(8)[None] + 9, b.repeat(8)[None], 999, np.random.default_rng(0)
    )
    assert far == pytest.approx(1 / 1000)


def test_bars_join_the_longest_runs_of_arms_that_are_alike():
    apart = np.ones((4, 4), bool)
    for i, j in ((0, 1), (1, 2), (0, 2), (2, 3)):
        apart[i, j] = apart[j, i] = False
    np.fill_diagonal(apart, False)
    assert cliques(apart) == [(0, 2), (2, 3)]
    assert cliques(~np.eye(3, dtype=bool)) == []
