"""Images on paper: stored integers, contact sheets, and how sheets are shown."""

from typing import Any

import numpy as np

from routing.data import pixel_values

GAP = 32  # a tile's width over the white between tiles, at least a pixel
SHARP = 400  # pixels across, up to which each one is a square on paper


def stored_integers(values: np.ndarray, levels: int | None, figure: str) -> np.ndarray:
    """Integers [samples, channels, height, width] of `values`, clipped as images are when stored.

    Raises ValueError for `figure` if these are no images: points, or neither grey nor colour.
    """
    if levels is None:
        raise ValueError(f"{figure} wants images, got points; draw densities instead")
    if values.shape[1] not in (1, 3):
        raise ValueError(
            f"{figure} wants images of 1 or 3 channels, got {values.shape[1]}; decode them first"
        )
    return pixel_values.to_stored(values, levels)


def image_grid(tiles: np.ndarray, columns: int, levels: int) -> np.ndarray:
    """`tiles` [images, channels, height, width] in rows of `columns`; white between and after.

    Returns [height, width, 3] in [0, 1].
    """
    num, channels, height, width = tiles.shape
    rows, gap = -(-num // columns), max(1, width // GAP)
    paper = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3))
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * (height + gap), (i % columns) * (width + gap)
        shown = np.moveaxis(tile, 0, -1) / levels
        paper[y : y + height, x : x + width] = shown if channels == 3 else shown.repeat(3, -1)
    return paper


def show_grid(axes, paper: np.ndarray) -> None:
    """Put a sheet into axes of its own; a large one is smoothed where paper is too coarse."""
    is_large = max(paper.shape[:2]) > SHARP
    axes.imshow(paper, interpolation="auto" if is_large else "none")
    axes.set_axis_off()


def evenly_spaced(num_wanted: int, rows: np.ndarray) -> np.ndarray:
    """`num_wanted` of `rows` (all, if there are fewer), evenly spaced from the first one."""
    num = min(num_wanted, len(rows))
    return rows[np.arange(num) * len(rows) // max(1, num)]


def label_row(axes: Any, text: str) -> None:
    """Text to the left of a strip."""
    axes.annotate(
        text, (0, 0.5), (-4, 0), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="center", linespacing=1.25,
    )  # fmt: skip
