"""Stored integers and the real values that networks see:  x = 2 i / levels - 1  in [-1, 1].

`levels` is the largest stored value (16 for the digits, 255 for bytes). Points of a closed-form
world are stored as they are (`levels` None). Generated samples are clipped and rounded to the
same grid before any feature is computed, as real images were when they were stored.
"""

import numpy as np


def to_values(stored: np.ndarray, levels: int | None) -> np.ndarray:
    """float32 values of `stored` [samples, ...]."""
    if levels is None:
        return stored.astype(np.float32)
    return (stored.astype(np.float32) * (2 / levels) - 1).astype(np.float32)


def to_stored(values: np.ndarray, levels: int | None) -> np.ndarray:
    """The nearest storable integers of `values` [samples, ...], clipped to [-1, 1] first."""
    if levels is None:
        return values.astype(np.float32)
    return np.rint((np.clip(values, -1, 1) + 1) * (levels / 2)).astype(np.uint8)


def quantised(values: np.ndarray, levels: int | None) -> np.ndarray:
    """`values` as a reader of the stored image would see them."""
    return to_values(to_stored(values, levels), levels)
