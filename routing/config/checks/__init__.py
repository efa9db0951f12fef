"""Checks of what no single key of a config can show: references, counts and combinations.

Each module has a `check(spec)` that raises ValueError, one line that begins with the key, on the
first combination that cannot run. `spec` is a config whose keys are valid one by one and whose
defaults are written out. Nothing is read from disk: what only the data can show (an empty
cluster, an image size that patches do not divide) is checked by the stage that reads it.
"""

from routing.config.checks import (
    arms,
    conditions,
    counts,
    data,
    exact_worlds,
    feature_spaces,
    figures,
    metrics,
    partitions,
    routers,
    sampler_noise,
)

CHECKS = (
    data,
    feature_spaces,
    partitions,
    routers,
    arms,
    conditions,
    sampler_noise,
    metrics,
    counts,
    exact_worlds,
    figures,
)


def check(spec: dict) -> None:
    """Raise ValueError, one line that begins with the key, if the config `spec` cannot run."""
    for module in CHECKS:
        module.check(spec)
