"""Cliques of a critical-difference diagram, against brute force and by hand."""

import numpy as np
import torch

from routing.statistics.cliques import cliques


def test_cliques_by_hand():
    apart = np.ones((4, 4), bool)
    for i, j in ((0, 1), (1, 2), (0, 2), (2, 3)):
        apart[i, j] = apart[j, i] = False
    np.fill_diagonal(apart, False)
    assert cliques(apart) == [(0, 2), (2, 3)]
    assert cliques(~np.eye(3, dtype=bool)) == []


def test_cliques_are_all_maximal_runs(rng):
    """By brute force: runs without a distinguishable pair that are in no longer such run."""
    for _ in range(100):
        apart = (torch.rand(7, 7, generator=rng) < 0.3).triu(1)
        apart = (apart | apart.T).numpy()
        alike = [
            (i, j) for i in range(7) for j in range(i + 1, 7)
            if not apart[i : j + 1, i : j + 1].any()
        ]  # fmt: skip
        expected = [
            (i, j) for i, j in alike
            if not any((a, b) != (i, j) and a <= i and j <= b for a, b in alike)
        ]  # fmt: skip
        assert cliques(apart) == expected
