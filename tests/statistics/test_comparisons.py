"""Pairwise comparisons of arms: each pair once, with the right test and correction."""

import numpy as np
import pytest
import torch

from routing.metrics.formulas.precision_recall import NeighbourReference, neighbour_metrics
from routing.statistics import comparisons as module
from routing.statistics.bootstrap import bootstrap_difference
from routing.statistics.comparisons import pairwise_comparisons
from routing.statistics.jackknife import (
    jackknife_difference,
    jackknife_interval,
    jackknife_p_value,
    jackknife_weights,
    seed_blocks,
)
from routing.statistics.multiple_testing import holm
from routing.statistics.permutation import sign_flip_p_values


def arms(rng, shifts, num_training_seeds=1, blocks=8):
    common = torch.randn(num_training_seeds, blocks + 1, generator=rng, dtype=torch.float64)
    shape = num_training_seeds, blocks + 1
    own = lambda: 0.1 * torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    return {name: common + own() + shift for name, shift in shifts.items()}


@pytest.mark.parametrize("num_training_seeds", [1, 3])
def test_every_pair_is_the_paired_difference_with_its_p_value(num_training_seeds, rng):
    found = arms(rng, {"a": 0.0, "b": 0.2, "c": 3.0}, num_training_seeds)
    made = pairwise_comparisons(found, None, None, "b", np.random.default_rng(0))
    assert {(c.arm, c.other) for c in made} == {("a", "b"), ("a", "c"), ("c", "b")}
    for c in made:
        interval = jackknife_difference(found[c.arm], found[c.other])
        assert (c.value, c.lo, c.hi) == pytest.approx(interval[:3])
        assert c.p == pytest.approx(jackknife_p_value(found[c.arm] - found[c.other]), abs=1e-9)
        assert c.is_distinguishable == (c.p_holm <= 0.05)
        assert np.isnan(c.p_holm_reference) == ("b" not in (c.arm, c.other))
        assert np.isnan(c.se_training) == (num_training_seeds == 1) and c.test == "seed blocks"
    p = np.array([c.p for c in made])
    assert [c.p_holm for c in made] == pytest.approx(holm(p).tolist())


def test_the_p_value_is_where_the_interval_touches_zero(rng):
    one = arms(rng, {"a": 0.05}, 3)["a"]
    p = jackknife_p_value(one)
    interval = jackknife_interval(one, level=1 - p)
    assert min(abs(interval.lo), abs(interval.hi)) == pytest.approx(0, abs=1e-6)


def test_the_bootstrap_error_is_the_spread_of_the_paired_draws(rng):
    found = arms(rng, {"a": 0.0, "b": 0.2})
    draws = arms(rng, {"a": 0.0, "b": 0.2}, blocks=50)
    (c,) = pairwise_comparisons(found, draws, None, "b", np.random.default_rng(0))
    expected = (draws["a"] - draws["b"])[0, 1:].std().item()
    assert c.se_bootstrap == pytest.approx(expected)


@pytest.mark.parametrize("num_training_seeds", [1, 3])
def test_the_bootstrap_interval_is_that_of_the_paired_draws(num_training_seeds, rng):
    found = arms(rng, {"a": 0.0, "b": 0.2, "c": 3.0}, num_training_seeds)
    draws = arms(rng, {"a": 0.0, "b": 0.2, "c": 3.0}, num_training_seeds, blocks=50)
    for name, values in draws.items():
        values[:, 0] = found[name][:, 0]
    made = pairwise_comparisons(found, draws, None, "b", np.random.default_rng(0))
    for c in made:
        ends = bootstrap_difference(draws[c.arm], draws[c.other])[1:3]
        assert (c.lo_bootstrap, c.hi_bootstrap) == pytest.approx(ends)
    for few, is_there in ((20, True), (19, False)):  # with the value in front
        short = {name: values[:, :few] for name, values in draws.items()}
        (c, *_) = pairwise_comparisons(found, short, None, "b", np.random.default_rng(0))
        assert np.isfinite([c.lo_bootstrap, c.hi_bootstrap]).all() == is_there
        assert c.se_bootstrap > 0


def test_shares_of_reference_points_are_told_apart_no_more_often_than_said(rng):
    """Twelve arms of one law, 64 points: most of a coverage is the same whatever is left out."""
    weights, told = jackknife_weights(seed_blocks(128, 32)), 0
    for _ in range(20):
        reference = NeighbourReference.fit(normal(rng, 64))
        found = {
            str(arm): neighbour_metrics(normal(rng, 128), reference, weights)["coverage"][None]
            for arm in range(12)
        }
        made = pairwise_comparisons(found, None, None, "0", np.random.default_rng(0))
        told += any(c.is_distinguishable for c in made)
    assert told <= 3  # of 20; 5 % are allowed


def normal(rng, num):
    return torch.randn(num, 4, generator=rng, dtype=torch.float64)


def scores_of(rng, shifts, num_training_seeds=1, num=30):
    common = torch.randn(num_training_seeds, num, generator=rng, dtype=torch.float64)
    own = torch.randn(len(shifts), num_training_seeds, num, generator=rng, dtype=torch.float64)
    return {n: common + 0.5 * own[i] + s for i, (n, s) in enumerate(shifts.items())}


SHIFTS = {"a": 0.0, "b": 0.1, "c": 0.25, "d": 2.0}


def test_scores_are_flipped_where_there_was_one_training(rng, monkeypatch):
    found, scores = arms(rng, SHIFTS), scores_of(rng, SHIFTS)
    seen = []

    def flipped(stacked, num_flips, draws):
        seen.append(num_flips)
        return sign_flip_p_values(stacked, num_flips, draws)

    monkeypatch.setattr(module, "sign_flip_p_values", flipped)
    requested = []
    monkeypatch.setattr(module, "required_num_flips", lambda *of: requested.append(of) or 20_000)
    made = pairwise_comparisons(found, None, scores, "b", np.random.default_rng(0))
    assert seen == [20_000] and requested == [(6, 0.05)]  # of all pairs
    names = list(SHIFTS)
    p = sign_flip_p_values(torch.stack([*scores.values()]), *seen, np.random.default_rng(0))
    for c in made:
        assert c.test == "sign flip"
        assert c.p == p[names.index(c.arm), names.index(c.other)].item()
        interval = jackknife_difference(found[c.arm], found[c.other])  # not of the flips
        assert (c.value, c.lo, c.hi, c.se_sampling) == pytest.approx(interval[:4])
    assert len({c.p for c in made}) > 3


def test_after_several_trainings_no_scores_are_flipped(rng):
    found = arms(rng, SHIFTS, 3)
    plain = pairwise_comparisons(found, None, None, "b", np.random.default_rng(0))
    scores = scores_of(rng, SHIFTS, 3)
    made = pairwise_comparisons(found, None, scores, "b", np.random.default_rng(0))
    assert [c.p for c in made] == [c.p for c in plain]
    assert {c.test for c in made} == {"seed blocks"}


def test_the_reference_is_a_family_of_its_own(rng, monkeypatch):
    """p by hand: the order of the pairs is ab, ac, ad, cb, db, cd."""
    table = torch.ones(4, 4, dtype=torch.float64)
    by_hand = {(0, 1): 0.012, (0, 2): 0.002, (0, 3): 0.5, (2, 1): 0.03, (3, 1): 0.04, (2, 3): 0.9}
    for (i, j), p in by_hand.items():
        table[i, j] = table[j, i] = p
    monkeypatch.setattr(module, "sign_flip_p_values", lambda *of: table)
    scores = scores_of(rng, SHIFTS)
    made = pairwise_comparisons(arms(rng, SHIFTS), None, scores, "b", np.random.default_rng(0))
    assert [c.arm + c.other for c in made] == ["ab", "ac", "ad", "cb", "db", "cd"]
    assert [c.p for c in made] == [*by_hand.values()]
    assert [c.p_holm for c in made] == pytest.approx([0.06, 0.012, 1, 0.12, 0.12, 1])
    of_reference = [c.p_holm_reference for c in made if c.other == "b"]
    assert of_reference == pytest.approx([0.036, 0.06, 0.06])
    assert [c.is_distinguishable for c in made] == [False, True] + 4 * [False]


def test_at_the_level_itself_arms_can_be_told_apart(rng, monkeypatch):
    for p, expected in ((0.05, True), (0.0500001, False)):
        table = torch.full((2, 2), p, dtype=torch.float64)
        monkeypatch.setattr(module, "sign_flip_p_values", lambda *of, t=table: t)
        two = {"a": 0.0, "b": 0.1}
        (c,) = pairwise_comparisons(
            arms(rng, two), None, scores_of(rng, two), "b", np.random.default_rng(0)
        )
        assert c.p_holm == p and c.is_distinguishable == expected


def test_a_difference_that_no_block_changes_says_nothing():
    """Rounding is no change: 0.1 + 0.2 - 0.3 is not 0."""
    same = torch.tensor([[1.0, 2, 3, 4]], dtype=torch.float64)
    found = {"a": same, "b": same, "c": same + 1, "d": same + 0.1 + 0.2}
    made = pairwise_comparisons(found, None, None, "a", np.random.default_rng(0))
    assert {c.p for c in made} == {1.0} and len(made) == 6
    assert [c.hi - c.lo for c in made] == pytest.approx([0] * 6, abs=1e-12)
    assert pairwise_comparisons({"a": same}, None, None, "a", np.random.default_rng(0)) == []


def test_every_error_is_in_its_column(rng):
    found = arms(rng, {"a": 0.0, "b": 0.3}, num_training_seeds=3)
    draws = arms(rng, {"a": 0.0, "b": 0.3}, num_training_seeds=3, blocks=40)
    (c,) = pairwise_comparisons(found, draws, None, "b", np.random.default_rng(0))
    interval = jackknife_interval(found["a"] - found["b"])
    assert (c.se_sampling, c.se_training) == pytest.approx(interval[3:])
    of_means = (draws["a"] - draws["b"]).mean(0)[1:]
    assert c.se_bootstrap == pytest.approx(of_means.std().item())
    assert c.se_bootstrap != pytest.approx(c.se_training)


@pytest.mark.parametrize("what", ["replicates", "bootstrap", "scores"])
def test_arms_of_other_sizes_are_refused(what, rng):
    given = {"replicates": arms(rng, SHIFTS), "bootstrap": None, "scores": None}
    given[what] = scores_of(rng, SHIFTS)
    given[what]["c"] = given[what]["c"][:, :-1]
    message = rf"^{what}: wanted the same .* \(1, 30\) for a and \(1, 29\) for c; use"
    with pytest.raises(ValueError, match=message) as error:
        pairwise_comparisons(**given, reference="b", rng=np.random.default_rng(0))
    assert "\n" not in str(error.value)


def test_numbers_that_are_not_finite_are_refused(rng):
    for bad in (np.nan, np.inf):
        found = arms(rng, SHIFTS)
        found["b"][0, 2] = bad
        with pytest.raises(ValueError, match="replicates: wanted finite numbers"):
            pairwise_comparisons(found, None, None, "a", np.random.default_rng(0))
