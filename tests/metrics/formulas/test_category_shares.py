import math

import pytest
import torch
from scipy import stats

from routing.metrics.formulas.category_shares import (
    category_counts,
    category_shares,
    chi_square_p_value,
    effective_number,
    effective_ratio,
    kl_divergence,
    min_share_ratio,
    total_variation,
)
from routing.statistics.jackknife import jackknife_weights, seed_blocks

LABELS = torch.tensor([0, 2, 2, 1, 2, 0, 2, 4])
Q = torch.tensor([0.3, 0.2, 0.3, 0.1, 0.1], dtype=torch.float64)


def test_counts_and_shares_by_hand():
    w = torch.stack([torch.ones(8), torch.tensor([3.0, 0, 1, 0, 0, 0, 0, 2])])
    expected = torch.tensor([[2.0, 1, 4, 0, 1], [3, 0, 1, 0, 2]], dtype=torch.float64)
    assert torch.equal(category_counts(LABELS, 5, w), expected)
    p = category_shares(LABELS, 5, w)
    torch.testing.assert_close(p, expected / torch.tensor([[8.0], [6.0]]).double())
    assert p.dtype == torch.float64


def test_replicates_are_the_shares_of_the_samples_left():
    blocks = seed_blocks(8, 4)
    p = category_shares(LABELS, 5, jackknife_weights(blocks))
    kept = [LABELS] + [LABELS[blocks != b] for b in range(4)]
    expected = torch.stack([k.bincount(minlength=5) / len(k) for k in kept])
    torch.testing.assert_close(p, expected.double(), rtol=1e-6, atol=0)
    tv = [(row - Q).clamp_min(0).sum() for row in p]  # the other form: what is too many
    torch.testing.assert_close(total_variation(p, Q), torch.stack(tv))


def test_distances_by_hand():
    p = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.2, 0.2, 0.6]], dtype=torch.float64)
    q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    assert total_variation(p, q).tolist() == pytest.approx([0.6, 0.4, 0])
    assert kl_divergence(p, q).tolist() == pytest.approx([math.log(2.5), math.log(1 / 0.6), 0])


def test_kl_agrees_with_scipy(rng):
    p = torch.rand(6, 9, generator=rng, dtype=torch.float64)
    p, q = p / p.sum(dim=1, keepdim=True), torch.full((9,), 1 / 9, dtype=torch.float64)
    expected = [stats.entropy(row.numpy(), q.numpy()) for row in p]
    assert kl_divergence(p, q).tolist() == pytest.approx(expected)


def test_zeros_are_what_the_docstring_says():
    p = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]], dtype=torch.float64)
    q = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    assert kl_divergence(p, q).tolist() == [pytest.approx(math.log(2)), math.inf]
    assert chi_square_p_value(10 * p, q).tolist() == [
        pytest.approx(stats.chisquare([10, 0], [5, 5]).pvalue),  # 0 of 0 is no degree of freedom
        0,
    ]


def test_chi_square_agrees_with_scipy(rng):
    n = torch.randint(5, 40, (6, 5), generator=rng).double()
    expected = [stats.chisquare(row.numpy(), row.sum().item() * Q.numpy()).pvalue for row in n]
    assert chi_square_p_value(n, Q).tolist() == pytest.approx(expected, rel=1e-9)


def test_chi_square_p_values_are_uniform_when_nothing_is_wrong(rng):
    draws = torch.multinomial(Q.expand(400, 5), 500, replacement=True, generator=rng)
    n = torch.stack([row.bincount(minlength=5) for row in draws]).double()
    assert stats.kstest(chi_square_p_value(n, Q).numpy(), "uniform").pvalue > 1e-3
    assert (chi_square_p_value(n[:, [1, 0, 2, 3, 4]], Q) < 0.05).float().mean() > 0.9


def test_kl_of_observed_shares_exceeds_its_limit_as_stated(rng):
    draws = torch.multinomial(Q.expand(2000, 5), 200, replacement=True, generator=rng)
    p = torch.stack([row.bincount(minlength=5) for row in draws]).double() / 200
    assert kl_divergence(p, Q).mean().item() == pytest.approx(4 / 400, rel=0.1)


def test_a_dropped_mode_raises_the_distances(rng):
    even = torch.full((4,), 0.25, dtype=torch.float64)
    w = torch.ones(1, 400)
    p = category_shares(torch.randint(0, 4, (400,), generator=rng), 4, w)
    dropped = category_shares(torch.randint(0, 3, (400,), generator=rng), 4, w)
    assert total_variation(dropped, even) > 0.249 > 3 * total_variation(p, even)
    assert kl_divergence(dropped, even) > 10 * kl_divergence(p, even)


def test_the_worst_served_by_hand(rng):
    q = torch.tensor([0.5, 0.4, 0.1, 0.0], dtype=torch.float64)
    p = torch.tensor(
        [[0.5, 0.4, 0.1, 0.0], [0.6, 0.4, 0.0, 0.0], [0.45, 0.5, 0.05, 0.0], [0.2, 0.2, 0.1, 0.5]],
        dtype=torch.float64,
    )
    assert min_share_ratio(p, q).tolist() == pytest.approx([1, 0, 0.5, 0.4])
    any_p = torch.rand(200, 4, generator=rng, dtype=torch.float64) ** 3
    served = min_share_ratio(any_p / any_p.sum(dim=1, keepdim=True), q)
    assert ((served >= 0) & (served <= 1)).all()


def test_effective_numbers_by_hand():
    """Equal shares count themselves; (1/2, 1/4, 1/4) has the entropy of 2 sqrt 2 equal ones."""
    p = torch.tensor(
        [[0.25] * 4, [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0.25, 0, 0.25, 0.5]], dtype=torch.float64
    )
    assert effective_number(p).tolist() == pytest.approx([4, 2, 1, 2 * math.sqrt(2)])
    ratio = effective_ratio(p, torch.tensor([0.5, 0.0, 0.5, 0.0]))
    assert ratio.tolist() == pytest.approx([2, 1, 0.5, math.sqrt(2)])


def test_a_starved_category_is_seen_where_total_variation_is_small(rng):
    q = torch.full((100,), 0.01, dtype=torch.float64)
    labels = torch.arange(9900) % 99  # all but the last, evenly
    p = category_shares(labels, 100, jackknife_weights(seed_blocks(9900, 10)))
    assert (total_variation(p, q) < 0.0101).all() and (min_share_ratio(p, q) == 0).all()
    torch.testing.assert_close(
        effective_ratio(p, q), torch.full((11,), 0.99).double(), rtol=1e-6, atol=0
    )


def test_observed_shares_fall_short_of_the_limits_as_stated(rng):
    draws = torch.multinomial(Q.expand(2000, 5), 200, replacement=True, generator=rng)
    p = torch.stack([row.bincount(minlength=5) for row in draws]).double() / 200
    short = effective_ratio(p, Q).log().mean().item()
    assert short == pytest.approx(-4 / 400, rel=0.15)
    assert min_share_ratio(p, Q).mean() < 0.85


@pytest.mark.parametrize("bad", [-1, 5])
def test_a_label_outside_is_refused(bad):
    with pytest.raises(ValueError, match=rf"labels: wanted 0\.\.4, got {bad}"):
        category_counts(torch.tensor([0, bad]), 5, torch.ones(1, 2))


@pytest.mark.parametrize(
    "distance",
    [total_variation, kl_divergence, chi_square_p_value, min_share_ratio, effective_ratio],
)
def test_what_are_no_shares_is_refused(distance):
    p = torch.full((1, 2), 0.5, dtype=torch.float64)
    with pytest.raises(ValueError, match="wanted 2 categories as the samples have, got 3"):
        distance(p, torch.tensor([0.2, 0.3, 0.5]))
    with pytest.raises(ValueError, match="wanted numbers >= 0 with sum 1, got sum 5"):
        distance(p, torch.tensor([2.0, 3.0]))
    with pytest.raises(ValueError, match="wanted numbers >= 0 with sum 1"):
        distance(p, torch.tensor([1.5, -0.5]))
    with pytest.raises(ValueError, match=r"wanted numbers >= 0 with sum 1, got sum 1\.0001"):
        distance(p, torch.tensor([0.5, 0.5001]))
    with pytest.raises(ValueError, match="weights: wanted whole numbers"):
        category_shares(torch.tensor([0, 1]), 2, torch.tensor([[0.5, 1]]))


@pytest.mark.parametrize(
    "distance",
    [total_variation, kl_divergence, chi_square_p_value, min_share_ratio, effective_ratio],
)
def test_shares_in_single_precision_are_counted_in_double(distance, rng):
    q = torch.rand(50, generator=rng)
    q = q / q.sum()
    assert abs(q.double().sum() - 1) > 1e-8  # as well as it is known
    p = torch.rand(3, 50, generator=rng, dtype=torch.float64)
    p = p / p.sum(dim=1, keepdim=True)
    assert torch.equal(distance(p, q), distance(p, q.double()))


def test_one_category_is_no_test():
    with pytest.raises(ValueError, match="wanted at least 2 categories above 0, got 1"):
        chi_square_p_value(torch.ones(1, 2), torch.tensor([1.0, 0.0]))
