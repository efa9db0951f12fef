"""Stored integers i, and the values of images that networks read:  x = 2 i / levels - 1.

`levels` is the largest stored value: 16 for the digits, 255 for bytes. Points of an exact world
(a Gaussian mixture) are stored unchanged, with `levels` None. Generated samples are clipped and
rounded to the same grid before features are computed, as real images were when they were stored.
"""

import numpy as np

# Values of samples may lie outside [-1, 1]; few lie beyond 10.
LARGE_VALUE, MAX_LARGE_FRACTION = 10, 0.05


def to_values(stored: np.ndarray, levels: int | None) -> np.ndarray:
    """Return the float32 values in [-1, 1] of `stored` [samples, ...]."""
    if levels is None:
        return stored.astype(np.float32)
    return (stored.astype(np.float32) * (2 / levels) - 1).astype(np.float32)


def to_stored(values: np.ndarray, levels: int | None) -> np.ndarray:
    """Clip `values` [samples, ...] to [-1, 1] and round them to the nearest stored integers."""
    if levels is None:
        return values.astype(np.float32)
    return np.rint((np.clip(values, -1, 1) + 1) * (levels / 2)).astype(np.uint8)


def quantised(values: np.ndarray, levels: int | None) -> np.ndarray:
    """Return `values` after storing: clipped and rounded."""
    return to_values(to_stored(values, levels), levels)


def check_stored(stored: np.ndarray, levels: int | None, path: object) -> None:
    """Raise ValueError unless `stored` holds images, points or latents.

    Images are bytes in 0..levels or floats, points and latents are floats; floats are finite.
    `check_scale` checks the scale of floats.
    """
    kind = stored.dtype.kind
    if kind != "f" and (stored.dtype != np.uint8 or levels is None):
        wanted = "floats" if levels is None else f"uint8 (0..{levels}) or floats in [-1, 1]"
        raise ValueError(
            f"{path}: wanted samples that are {wanted}, got {stored.dtype}; convert them"
        )
    if kind == "f":
        broken = ~np.isfinite(stored).all(axis=tuple(range(1, stored.ndim)))
        if bad := int(broken.sum()):
            raise ValueError(
                f"{path}: wanted finite samples, got nan or inf in {bad} of {len(stored)}; check "
                f"the arm that drew them"
            )
    elif stored.max(initial=0) > levels:
        raise ValueError(
            f"{path}: wanted bytes of 0..{levels}, got {stored.max()}; the metadata of the "
            f"file has other levels"
        )


def check_scale(stored: np.ndarray, levels: int | None, path: object) -> None:
    """Raise ValueError if floats are images of another scale than [-1, 1].

    Samples may lie outside [-1, 1] and are clipped later. The error is raised if more than a
    twentieth of the values are beyond -10 or 10, which holds for images in 0..255 or 0..16, even
    mostly black ones, and not for noise. A smaller scale (0..1) cannot be recognised.
    """
    if levels is None or stored.dtype.kind != "f" or not stored.size:
        return
    fraction = float((np.abs(stored) > LARGE_VALUE).mean())
    if fraction > MAX_LARGE_FRACTION:
        low, high = float(stored.min()), float(stored.max())
        raise ValueError(
            f"{path}: wanted images in [-1, 1], got values from {low:.4g} to {high:.4g}, "
            f"{fraction:.0%} of them beyond +-{LARGE_VALUE}; rescale them, or check the arm that "
            f"drew them"
        )
