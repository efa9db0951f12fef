"""Metrics of sets of samples: a table of choices, and the formulas behind it."""
