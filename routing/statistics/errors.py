"""Errors of metrics and statistics."""


class TooFewSamples(ValueError):
    """The number of samples is too small for a metric or statistic."""
