import math

import pytest
import torch
from scipy import stats

from routing.metrics.formulas.energy_distance import EnergyReference, energy_distance
from routing.metrics.formulas.frechet_distance import FrechetReference, frechet_distance
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.statistics.jackknife import (
    JackknifeEstimates,
    jackknife_difference,
    jackknife_interval,
    jackknife_weights,
    seed_blocks,
)


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def mean_replicates(x, w):
    return (w @ x / w.sum(dim=1))[None]  # one training


def test_blocks_are_consecutive_and_equal():
    assert seed_blocks(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert seed_blocks(3, 3).tolist() == [0, 1, 2]


def test_weights_leave_out_one_block_each():
    assert jackknife_weights(torch.tensor([0, 0, 1, 1])).tolist() == [
        [1, 1, 1, 1],
        [0, 0, 1, 1],
        [1, 1, 0, 0],
    ]
    w = jackknife_weights(seed_blocks(60, 12))
    assert w.dtype == torch.float64 and w.shape == (13, 60)
    assert torch.equal(w[1:].sum(dim=0), torch.full((60,), 11.0).double())


def test_the_jackknife_of_a_mean_is_the_t_interval_of_block_means(rng):
    x = normal(rng, 40)
    blocks = x.reshape(8, 5).mean(dim=1).numpy()
    ours = jackknife_interval(mean_replicates(x, jackknife_weights(seed_blocks(40, 8))), 0.9)
    lo, hi = stats.t.interval(0.9, 7, loc=blocks.mean(), scale=stats.sem(blocks))
    assert ours[:3] == pytest.approx((x.mean().item(), lo, hi), rel=1e-12)
    assert ours.se_sampling == pytest.approx(stats.sem(blocks)) and math.isnan(ours.se_training)


def test_the_interval_is_around_the_value_and_not_around_the_mean_of_the_replicates():
    """By hand: the left-out values 1, 2, 3 have spread 2 around their own mean."""
    half = stats.t.ppf(0.975, 2) * math.sqrt(2 / 3 * 2)
    one = torch.tensor([[10.0, 1, 2, 3]])
    assert jackknife_interval(one)[:3] == pytest.approx((10, 10 - half, 10 + half))
    a, b = torch.tensor([[12.0, 3, 6, 1]]), torch.tensor([[2.0, 2, 4, -2]])
    assert jackknife_difference(a, b, 0.5)[:4] == jackknife_interval(one, 0.5)[:4]


def test_trainings_have_a_part_of_their_own():
    """By hand: means 10 and 14 of two trainings; left-out values that cancel in their mean."""
    replicates = torch.tensor([[10.0, 1, 2, 3], [14.0, 3, 2, 1]])
    found = jackknife_interval(replicates)
    assert found.se_sampling == 0 and found.se_training == pytest.approx(2)
    assert found[:3] == pytest.approx((12, 12 - 2 * 12.7062, 12 + 2 * 12.7062), rel=1e-4)
    both = jackknife_interval(torch.tensor([[10.0, 1, 2, 3], [14.0, 1, 2, 3]]))
    se = math.sqrt(2 / 3 * 2)
    half = math.hypot(stats.t.ppf(0.975, 2) * se, stats.t.ppf(0.975, 1) * 2)
    assert both.se_sampling == pytest.approx(se) and both.hi == pytest.approx(12 + half)


def test_the_interval_covers_what_retraining_and_new_seeds_would_give(rng):
    """Value = truth + training + seeds: common seeds, four trainings; 95 % or a little more."""
    w, hits = jackknife_weights(seed_blocks(40, 10)), 0
    for _ in range(600):
        x = normal(rng, 40) + 0.2 * normal(rng, 4, 40) + 0.3 * normal(rng, 4, 1)
        replicates = torch.cat([mean_replicates(row, w) for row in x])
        _, lo, hi, *_ = jackknife_interval(replicates)
        hits += lo <= 0 <= hi
    assert 0.92 <= hits / 600 <= 0.99


@pytest.mark.parametrize("shift", [0.3, 2.0, 30.0, 3000.0])
def test_p_values_are_right_however_small(shift, rng):
    """The level at which the interval of 20 blocks and 15 trainings ends at zero, by scipy."""
    found = JackknifeEstimates.fit(normal(rng, 15, 21) + 3 * normal(rng, 15, 1) + shift)
    tail = found.p_values() / 2
    halves = stats.t.isf(tail, 19) * found.se_sampling, stats.t.isf(tail, 14) * found.se_training
    assert math.hypot(*halves) == pytest.approx(abs(found.value), rel=1e-9)
    assert 0 < tail < 0.5 and (tail < 1e-30) == (shift == 3000)


def test_p_values_beyond_all_tables_are_right_too(rng):
    """Of 500 blocks and 400 trainings, of which two bounds are many powers of ten apart."""
    found = JackknifeEstimates.fit(0.1 * normal(rng, 400, 501) + normal(rng, 400, 1) + 4.5)
    tail = found.p_values() / 2
    halves = stats.t.isf(tail, 499) * found.se_sampling, stats.t.isf(tail, 399) * found.se_training
    assert math.hypot(*halves) == pytest.approx(abs(found.value), rel=1e-9)
    assert 0 < tail < 1e-100


def test_single_precision_is_counted_in_double(rng):
    found = torch.randn(3, 12, generator=rng) + 100
    assert jackknife_interval(found) == jackknife_interval(found.double())
    assert jackknife_interval(found[:1])[:4] == jackknife_interval(found[:1].double())[:4]


def test_a_difference_is_paired_by_training():
    a, b = torch.tensor([[5.0, 4, 6], [9.0, 8, 10]]), torch.tensor([[4.0, 3, 5], [8.0, 7, 9]])
    assert jackknife_difference(a, b)[:3] == (1, 1, 1)
    with pytest.raises(ValueError, match="wanted the same shape for both arms"):
        jackknife_difference(a, b[:1])


def test_the_interval_of_a_mean_covers_as_it_says(rng):
    w = jackknife_weights(seed_blocks(40, 10))
    hits = 0
    for _ in range(1000):
        x = torch.empty(40, dtype=torch.float64).exponential_(generator=rng)
        _, lo, hi, *_ = jackknife_interval(mean_replicates(x, w))
        hits += lo <= 1 <= hi
    assert 0.91 <= hits / 1000 <= 0.97


DISTANCES = {
    "frechet": (FrechetReference, frechet_distance),
    "kernel": (KernelReference, kernel_distance),
    "energy": (EnergyReference, energy_distance),
}
every_distance = pytest.mark.parametrize("metric", DISTANCES.values(), ids=DISTANCES.keys())


def standard_error(replicates):
    return jackknife_interval(replicates[None]).se_sampling


def simulated(metric, shift, rng, draws=120, n=200, num_blocks=20):
    """True standard deviation over independent draws, and the jackknife's root mean square."""
    fit, distance = metric[0].fit, metric[1]
    reference, w = fit(normal(rng, 500, 3)), jackknife_weights(seed_blocks(n, num_blocks))
    replicates = [distance(normal(rng, n, 3) + shift, reference, w) for _ in range(draws)]
    truth = torch.stack([r[0] for r in replicates]).std().item()
    return truth, math.sqrt(sum(standard_error(r) ** 2 for r in replicates) / draws)


@every_distance
def test_the_standard_error_is_the_spread_over_new_seeds(metric, rng):
    truth, se = simulated(metric, 0.7, rng)
    assert se == pytest.approx(truth, rel=0.3)


@every_distance
def test_near_zero_the_standard_error_is_on_the_safe_side_by_no_more_than_stated(metric, rng):
    truth, se = simulated(metric, 0.0, rng)
    assert 0.9 * truth < se < 1.2 * math.sqrt(2) * truth


@every_distance
def test_common_seeds_make_the_interval_of_a_difference_narrow(metric, rng):
    reference = metric[0].fit(normal(rng, 500, 3))
    w = jackknife_weights(seed_blocks(400, 20))
    x, other_seeds = normal(rng, 400, 3) + 0.5, normal(rng, 400, 3) + 0.5
    arm = lambda x: metric[1](x, reference, w)[None]  # noqa: E731
    value, lo, hi, *_ = jackknife_difference(arm(x + 0.05), arm(x))
    assert value == (arm(x + 0.05) - arm(x))[0, 0].item()
    unpaired = jackknife_difference(arm(other_seeds + 0.05), arm(x))
    assert 3 * (hi - lo) < unpaired.hi - unpaired.lo
    assert lo > 0  # the small harm is seen


@pytest.mark.parametrize(
    ("num_samples", "num_blocks", "remedy"),
    [(100, 12, "take 10 or 20$"), (10, 3, "take 2 or 5$"), (7, 3, "take 7$"), (12, 5, "4 or 6$")],
)
def test_blocks_that_do_not_fit_are_told_which_do(num_samples, num_blocks, remedy):
    with pytest.raises(ValueError, match=f"wanted a divisor of {num_samples}.*{remedy}"):
        seed_blocks(num_samples, num_blocks)


@pytest.mark.parametrize(
    ("num_samples", "num_blocks", "remedy"),
    [(10, -2, "2"), (10, 0, "2"), (10, 1, "2"), (10, 11, "10"), (16, 32, "16"), (7, 1, "7")],
)
def test_too_few_or_too_many_blocks_are_told_which_would_do(num_samples, num_blocks, remedy):
    word = rf"wanted a divisor( > 1)? of {num_samples} \(samples\), got {num_blocks}"
    with pytest.raises(ValueError, match=f"{word}; take {remedy}$"):
        seed_blocks(num_samples, num_blocks)


def test_one_sample_cannot_be_cut():
    with pytest.raises(ValueError, match="wanted 2 samples at least, got 1; draw more"):
        seed_blocks(1, 1)


@pytest.mark.parametrize("blocks", [[0, 0, 1], [0, 0], [0, 2], [1, 1]])
def test_unequal_blocks_are_refused(blocks):
    with pytest.raises(ValueError, match="wanted at least 2 of equal size"):
        jackknife_weights(torch.tensor(blocks))


def test_what_has_no_interval_is_refused():
    with pytest.raises(ValueError, match="wanted a value and at least 2 blocks, got 2"):
        jackknife_interval(torch.ones(1, 2))
    with pytest.raises(ValueError, match="wanted finite numbers, got inf"):
        jackknife_interval(torch.tensor([[1.0, 2.0, math.inf]]))
    with pytest.raises(ValueError, match=r"wanted the same shape for both arms, got \(1, 4\) and"):
        jackknife_difference(torch.ones(1, 4), torch.ones(1, 1))
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match="level: wanted a probability"):
            jackknife_interval(torch.ones(1, 3), level)
