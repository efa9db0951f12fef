"""Intervals, bootstrap, permutation tests and comparisons of arms."""
