"""A fitted encoder applied:  f(x) = (x - mean) projection."""

import numpy as np


def encode(arrays: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """float32 features [samples, dim] of `values` [samples, ...]."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    return ((flat - arrays["mean"]) @ arrays["projection"]).astype(np.float32)
