"""Membership of images in clusters: one cluster each, or two where the partition overlaps.

With every image in m clusters and  pi_k = memberships of k / (m N)  the data is the mixture of the
clusters,  p(x) = sum_k pi_k p_k(x) , since each image is counted m times on both sides.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Int


def memberships(assignments: Any) -> Int[np.ndarray, "images memberships"]:
    """Return the clusters of each image, nearest first, from the columns cluster and second."""
    names = [name for name in ("cluster", "second") if name in assignments]
    return np.stack([np.asarray(assignments[name], np.int64) for name in names], axis=1)


def is_member(assignments: Any, cluster: int) -> Bool[np.ndarray, " images"]:
    """Return whether each image belongs to this cluster."""
    return (memberships(assignments) == cluster).any(1)
