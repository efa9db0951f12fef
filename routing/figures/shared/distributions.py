"""Entropy of discrete distributions."""

import numpy as np


def entropy(p: np.ndarray) -> float | np.ndarray:
    """Return -sum p log p over the last axis, in nats, with 0 log 0 = 0; NaN where p is NaN."""
    return -(p * np.log(np.where(p == 0, 1, p))).sum(-1)
