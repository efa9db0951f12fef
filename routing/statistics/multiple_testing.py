"""Holm's correction of p values for multiple tests.

For m tests with p_(1) <= ... <= p_(m) the adjusted values are

    p~_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)) .

Rejecting where p~ <= alpha makes any false rejection with probability alpha at most, whatever the
dependence of the tests (Holm 1979, Scand. J. Statist. 6:65). It equals
statsmodels.stats.multitest.multipletests(p, method="holm").
"""

import numpy as np
from jaxtyping import Float

ALPHA = 0.05


def holm(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Return Holm's adjusted p values, in the order of `p`. Raises ValueError outside [0, 1]."""
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"holm: wanted p values in [0, 1], got {p[~((p >= 0) & (p <= 1))][0]}; "
            "leave out tests that could not be made"
        )
    order = np.argsort(p, kind="stable")
    stepped = np.arange(len(p), 0, -1) * p[order]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(stepped))
    return adjusted
