"""Memberships: one cluster or two, and who belongs where."""

import pandas as pd

from routing.partitions.membership import is_member, memberships

ONE = pd.DataFrame({"sample_id": range(4), "cluster": [0, 2, 1, 2], "distance_0": 0.5})
TWO = ONE.assign(second=[1, 0, 2, 1])


def test_memberships_are_the_columns():
    assert memberships(ONE).tolist() == [[0], [2], [1], [2]]
    assert memberships(TWO).tolist() == [[0, 1], [2, 0], [1, 2], [2, 1]]


def test_members():
    assert is_member(ONE, 2).tolist() == [False, True, False, True]
    assert is_member(TWO, 1).tolist() == [True, False, True, True]
    assert sum(is_member(TWO, k).sum() for k in range(3)) == 8
