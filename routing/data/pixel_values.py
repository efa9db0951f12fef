"""Stored integers and the real values that networks see:  x = 2 i / levels - 1  in [-1, 1].

`levels` is the largest stored value (16 for the digits, 255 for bytes). Points of a closed-form
world are stored as they are (`levels` None). Generated samples are clipped and rounded to the
same grid before any feature is computed, as real images were when they were stored.
"""

import numpy as np

FAR, MOST_FAR = 10, 0.05  # a value that far out is no overshoot, and so large a share no accident


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


def refuse_broken(stored: np.ndarray, levels: int | None, path: object) -> None:
    """Raise ValueError (one line) on what no image (no point, no latent) is stored as.

    Integers are images in bytes of 0..levels. All else is floats, and finite; of a scale that
    is not [-1, 1] see `refuse_scale`.
    """
    kind = stored.dtype.kind
    if kind != "f" and (stored.dtype != np.uint8 or levels is None):
        wanted = "floats" if levels is None else f"uint8 (0..{levels}) or floats in [-1, 1]"
        raise ValueError(
            f"{path}: wanted samples that are {wanted}, got {stored.dtype}; store them so"
        )
    if kind == "f":
        broken = ~np.isfinite(stored).all(axis=tuple(range(1, stored.ndim)))
        if bad := int(broken.sum()):
            raise ValueError(
                f"{path}: wanted finite samples, got nan or inf in {bad} of {len(stored)}; look "
                f"at the arm that drew them"
            )
    elif stored.max(initial=0) > levels:
        raise ValueError(
            f"{path}: wanted bytes of 0..{levels}, got {stored.max()}; they are of other levels "
            f"than the file says"
        )


def refuse_scale(stored: np.ndarray, levels: int | None, path: object) -> None:
    """Raise ValueError (one line) if floats are images of another scale than [-1, 1].

    Samples may overshoot it and are clipped, so what is refused is a set of which more than a
    twentieth of the values are beyond -10 or 10: images in 0..255 or 0..16 are, even mostly black
    ones, and noise is not. A scale inside of that (0..1) cannot be told from samples.
    """
    if levels is None or stored.dtype.kind != "f" or not stored.size:
        return
    share = float((np.abs(stored) > FAR).mean())
    if share > MOST_FAR:
        low, high = float(stored.min()), float(stored.max())
        raise ValueError(
            f"{path}: wanted images in [-1, 1], got values from {low:.4g} to {high:.4g}, "
            f"{share:.0%} of them beyond +-{FAR}; bring them to that scale, or look at the arm "
            f"that drew them"
        )
