"""Intervals, tests and comparisons of metrics: jackknife, bootstrap, permutation tests, Holm."""
