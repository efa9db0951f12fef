"""Sign flips against enumeration, scipy and the binomial law; what draws may not change."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from routing.statistics import permutation
from routing.statistics.permutation import (
    required_num_flips,
    sign_flip_p_value,
    sign_flip_p_values,
)


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def numbers():
    return np.random.default_rng(0)


def enumerated(d):
    """p of the differences d, every sign vector by itself, in fractions: ties are ties."""
    d = [Fraction(str(v)) for v in d]
    flips = [abs(sum(s * v for s, v in zip(signs, d, strict=True))) for signs in every(len(d))]
    return sum(f >= abs(sum(d)) for f in flips) / len(flips)


def every(num):
    return list(product((1, -1), repeat=num))


@pytest.mark.parametrize("num", [1, 2, 7, 12])
def test_few_samples_are_enumerated(num, rng):
    a, b = normal(rng, num) + 0.5, normal(rng, num)
    d = (a - b).numpy()
    sums = np.abs(np.array(every(num)) @ d)
    expected = (sums >= abs(d.sum()) * (1 - 1e-12)).mean()
    found = sign_flip_p_value(a[None], b[None], 1, numbers())
    assert found == expected == sign_flip_p_value(b[None], a[None], 1, numbers())


def test_it_is_that_of_scipy(rng):
    a, b = normal(rng, 9) + 0.4, normal(rng, 9)
    expected = stats.permutation_test(
        (a.numpy(), b.numpy()), lambda x, y: np.mean(x - y), permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue  # fmt: skip
    found = sign_flip_p_value(a[None], b[None], 10_000, numbers())
    assert found == pytest.approx(expected, rel=1e-12)


def test_ties_count_though_sums_are_rounded(rng):
    """Tenths: many flips have the very sum that was seen, and none of them in binary."""
    for _ in range(20):
        a, b = torch.randint(-3, 4, (2, 9), generator=rng).double() / 10
        d = [f"{v:.1f}" for v in (a - b).tolist()]
        found = sign_flip_p_value(a[None], b[None], 1, numbers())
        assert found == enumerated(d)
        shifted = sign_flip_p_value(a[None] + 1000, b[None] + 1000, 1, numbers())
        assert shifted == found


def test_sums_that_differ_by_little_are_no_ties():
    a = torch.tensor([[1.0, 1.0 + 1e-7]], dtype=torch.float64)
    b = torch.zeros(1, 2, dtype=torch.float64)
    b[0, 1] = 1e-7  # d = 1, 1: all four sums are 2 or 0
    assert sign_flip_p_value(a, b, 1, numbers()) == 0.5
    three = torch.tensor([[1.0, 1e-7, -1e-7 - 1e-8]], dtype=torch.float64)
    # |1 - 1e-8| is the smallest but one of four sizes: 1 +- 2.1e-7, 1 +- 1e-8.
    assert sign_flip_p_value(three, torch.zeros(1, 3).double(), 1, numbers()) == 0.75


def test_of_equal_sizes_it_is_the_sign_test(rng):
    """d_i = +-1: the number of flips that stay is binomial, exactly below and by draws above."""
    for num, up in ((12, 9), (12, 6), (13, 10), (40, 26), (64, 40), (70, 45)):
        a = torch.ones(1, num, dtype=torch.float64)
        a[0, up:] = -1
        found = sign_flip_p_value(a, torch.zeros_like(a), 20_000, numbers())
        expected = stats.binomtest(up, num).pvalue
        error = 0 if num <= 12 else 4 * (expected * (1 - expected) / 20_000) ** 0.5
        assert found == pytest.approx(expected, abs=error + 1e-12)


def test_draws_are_fair_and_independent(rng):
    """Flips of 70 samples: no sample, pair of samples or pair of flips leans to a side."""
    (signs,) = permutation._signs(70, 4000, 70, numbers())
    assert signs.shape == (70, 4000) and (signs.abs() == 1).all()
    assert signs.mean(1).abs().max() < 5 / 4000**0.5
    among = signs @ signs.T / 4000 - torch.eye(70)
    assert among.abs().max() < 5.5 / 4000**0.5
    following = (signs[:, 1:] * signs[:, :-1]).mean(0)
    assert following.abs().mean() < 1.2 * (2 / torch.pi) ** 0.5 / 70**0.5


def test_drawn_p_is_never_zero_and_counts_the_flip_that_was_seen():
    a = torch.arange(1.0, 41)[None]
    zero = torch.zeros_like(a)
    assert sign_flip_p_value(a, zero, 999, numbers()) == 1 / 1000
    # From 13 samples on flips are drawn, up to 12 none are.
    assert sign_flip_p_value(a[:, :13], zero[:, :13], 9, numbers()) == 0.1
    assert sign_flip_p_value(a[:, :12], zero[:, :12], 9, numbers()) == 2 / 2**12
    found = sign_flip_p_value(a - 19, zero, 999, numbers()) * 1000
    assert found == pytest.approx(round(found), abs=1e-9)


def test_under_exchange_a_level_is_kept():
    """All sign vectors of one set of sizes are equally likely: p <= u for a share u of them."""
    sizes = torch.tensor([0.3, 1.0, 1.1, 2.0, 2.4, 5.0], dtype=torch.float64)
    zero = torch.zeros(1, 6, dtype=torch.float64)
    p = np.array(
        [sign_flip_p_value(sizes[None] * torch.tensor(s), zero, 1, numbers()) for s in every(6)]
    )
    for level in np.unique(p):
        assert (p <= level).mean() == pytest.approx(level)


@pytest.mark.parametrize("num", [8, 33])
def test_all_pairs_are_those_of_two_arms_alone(num, rng):
    scores = normal(rng, 4, 1, num) + 0.4 * torch.arange(4)[:, None, None]
    table = sign_flip_p_values(scores, 500, numbers())
    assert table.dtype == torch.float64 and torch.equal(table, table.T)
    assert (table.diagonal() == 1).all()
    for i in range(4):
        for j in range(i):
            alone = sign_flip_p_value(scores[i], scores[j], 500, numbers())
            assert table[i, j].item() == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("num", [11, 45])
def test_what_arms_have_in_common_changes_nothing(num, rng):
    """Nor what counts as a tie: whole numbers beside which rounding would be of their size."""
    scores = torch.randint(-3, 4, (4, 1, num), generator=rng).double()
    common = 1e11 * torch.randint(1, 9, (1, 1, num), generator=rng).double()
    expected = sign_flip_p_values(scores, 300, numbers())
    assert torch.equal(sign_flip_p_values(scores + common, 300, numbers()), expected)


def test_trainings_flip_together(rng):
    scores = normal(rng, 2, 3, 10) + torch.tensor([0.5, 0])[:, None, None]
    of_means = sign_flip_p_values(scores.mean(1, keepdim=True), 1, numbers())
    assert torch.equal(sign_flip_p_values(scores, 1, numbers()), of_means)
    single = sign_flip_p_values(scores.float(), 1, numbers())
    torch.testing.assert_close(single, of_means)


@pytest.mark.parametrize("num", [6, 12, 13, 32, 33])
@pytest.mark.parametrize("block", [1, 50, 700])
def test_blocks_change_nothing(num, block, rng, monkeypatch):
    scores = normal(rng, 3, 1, num)
    expected = sign_flip_p_values(scores, 50, numbers())
    monkeypatch.setattr(permutation, "BLOCK_SIZE", block)
    assert torch.equal(sign_flip_p_values(scores, 50, numbers()), expected)


def test_means_of_trainings_are_double():
    """2^24 + 1 is no number of float32, but is a mean: d = 1, 1 with it, d = 0, 1 without."""
    a = torch.tensor([[2.0**24, 1], [2.0**24 + 2, 1]])
    b = torch.tensor([[2.0**24, 0], [2.0**24, 0]])
    assert sign_flip_p_value(a, b, 1, numbers()) == 0.5


def test_the_right_way_round(rng):
    a, b = normal(rng, 200), normal(rng, 200)
    p = [sign_flip_p_value((a + s)[None], b[None], 999, numbers()) for s in (0.1, 0.25, 0.6)]
    assert p == sorted(p, reverse=True) and p[2] == 0.001 < p[0]


def test_flips_are_enough_for_holm():
    assert required_num_flips(1) == required_num_flips(250) == 9_999
    assert required_num_flips(251) == 10_039 and required_num_flips(1000, 0.01) == 199_999
    for tests in (251, 300, 7777):
        flips = required_num_flips(tests)
        assert tests / (1 + flips) <= 0.025 < tests / flips  # Holm's p of the smallest p


def test_what_cannot_be_tested_is_refused():
    one = torch.ones(2, 1, 3)
    for scores, flips, got in ((one, 0, "3 and 0"), (one[:, :, :0], 5, "0 and 5")):
        with pytest.raises(ValueError, match=f"at least 1 sample and 1 flip, got {got}; "):
            sign_flip_p_values(scores, flips, numbers())
    for bad in (torch.nan, torch.inf):
        one[1, 0, 2] = bad
        with pytest.raises(ValueError, match=f"scores: wanted finite numbers, got {bad}; "):
            sign_flip_p_values(one, 5, numbers())
