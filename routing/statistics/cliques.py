"""Cliques of a critical-difference diagram: runs of neighbouring arms without a difference.

A critical-difference diagram shows arms in the order of their values and joins those that are not
significantly different by bars (Demsar 2006, JMLR 7:1). There the values are mean ranks over data
sets; here they are those of one metric, with paired tests.
"""

import numpy as np
from jaxtyping import Bool


def cliques(is_distinguishable: Bool[np.ndarray, "arms arms"]) -> list[tuple[int, int]]:
    """Return the first and last position of each maximal run of mutually indistinguishable arms.

    Arms are in the order of their values, and the matrix is symmetric. Runs of one arm are left
    out. Paired tests may find a difference between neighbours and none between arms further apart.
    So all arms of a run are mutually indistinguishable, but two arms without a common run need not
    be distinguishable: the matrix tells.
    """
    found: list[tuple[int, int]] = []
    num, end = len(is_distinguishable), -1
    for first in range(num):
        last = first
        while last + 1 < num and not is_distinguishable[first : last + 1, last + 1].any():
            last += 1
        if last > max(first, end):
            found.append((first, last))
            end = last
    return found
