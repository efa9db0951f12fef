"""Compact letter displays, against brute force and by hand."""

import itertools
import re

import numpy as np
import pytest

from routing.statistics.compact_letter_display import (
    compact_letter_display,
    drop_redundant_groups,
    letter_name,
    maximal_groups,
)


def random_apart(rng, num, share):
    upper = np.triu(rng.random((num, num)) < share, 1)
    return upper | upper.T


def letters_of(word):
    return set(re.findall(r"[a-zA-Z]\d*", word))


@pytest.mark.parametrize("num, share", [*itertools.product((1, 2, 3, 5, 8, 12), (0.1, 0.4, 0.8))])
def test_two_arms_share_a_letter_iff_they_are_indistinguishable(num, share):
    rng = np.random.default_rng(num)
    for _ in range(20):
        apart = random_apart(rng, num, share)
        found = list(map(letters_of, compact_letter_display(apart)))
        assert all(found) and "a" in found[0]
        for i, j in itertools.combinations(range(num), 2):
            assert bool(found[i] & found[j]) != apart[i, j]
        for one in set.union(*found):  # none is superfluous
            less = [word - {one} for word in found]
            told = [bool(less[i] & less[j]) for i in range(num) for j in range(i, num)]
            wanted = [not apart[i, j] for i in range(num) for j in range(i, num)]
            assert told != wanted


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_insert_and_absorb_finds_all_maximal_groups(share):
    rng = np.random.default_rng(3)
    for num in (1, 3, 6, 8):
        apart = random_apart(rng, num, share)
        subsets = [
            frozenset(s) for k in range(1, num + 1) for s in itertools.combinations(range(num), k)
        ]
        alike = [s for s in subsets if not apart[np.ix_(list(s), list(s))].any()]
        wanted = [s for s in alike if not any(s < t for t in alike)]
        assert maximal_groups(apart) == sorted(wanted, key=sorted)


def test_letters_by_hand():
    apart = np.zeros((4, 4), bool)
    assert compact_letter_display(apart) == ["a"] * 4
    apart[0, 2] = apart[2, 0] = apart[0, 3] = apart[3, 0] = True
    assert compact_letter_display(apart) == ["a", "ab", "b", "b"]
    assert compact_letter_display(~np.eye(4, dtype=bool)) == list("abcd")
    alike = [(0, 1, 2), (0, 1, 3), (1, 2, 4), (0, 2, 5)]  # the first says nothing new
    apart = ~np.eye(6, dtype=bool)
    for own in alike:
        apart[np.ix_(own, own)] = False
    assert len(maximal_groups(apart)) == 4
    assert compact_letter_display(apart) == ["ab", "ac", "bc", "a", "c", "b"]


def test_of_two_letters_either_of_which_will_do_the_first_is_kept():
    sets = [(0, 1, 2), (0, 1, 3), (0, 2, 4), (0, 3, 6), (1, 2, 5), (1, 3, 7)]
    sets = list(map(frozenset, sets))  # 0 and 1 are together in the first two alone
    assert drop_redundant_groups(sets) == [sets[0], *sets[2:]]


def test_there_are_letters_for_any_number_of_arms():
    assert [letter_name(k) for k in (0, 25, 26, 51, 52, 103, 104)] == "a z A Z a2 Z2 a3".split()
    words = compact_letter_display(~np.eye(120, dtype=bool))
    assert len(set(words)) == 120 and words[119] == letter_name(119)
