"""Checks of the names of feature spaces, which become part of the names of metrics."""

import re

from routing.metrics import feature_space_names


def check(spec: dict) -> None:
    """Only a published feature space may have, or begin with, the name of one."""
    for group in ("encoders", "classifiers"):
        for name, choice in spec[group].items():
            feature_space_names.check_name(f"{group}.{name}", name, choice)
            if re.search(r"_\d+k?$", name) and name not in feature_space_names.WEIGHTS:
                raise ValueError(
                    f"{group}.{name}: wanted a name that does not end in a number, because in the "
                    f"name of a metric that is the number of samples, got {name!r}; rename it"
                )
