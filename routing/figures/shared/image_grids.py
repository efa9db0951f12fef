"""Images in figures: stored integers, grids of images, and how grids are shown."""

from typing import Any

import numpy as np

from routing.data import pixel_values

GAP = 32  # width of an image divided by the gap between images, which is at least one pixel
SHARP = 400  # largest side, in pixels, of a grid that is drawn without smoothing


def stored_integers(values: np.ndarray, levels: int | None, figure: str) -> np.ndarray:
    """Return integers [samples, channels, height, width], clipped as stored images are.

    Raises ValueError, which names `figure`, unless `values` are images with 1 or 3 channels.
    `levels` is the largest integer, or None if samples are points.
    """
    if levels is None:
        raise ValueError(f"{figure}: wanted images, got points; use the figure densities instead")
    if values.shape[1] not in (1, 3):
        raise ValueError(
            f"{figure}: wanted images with 1 or 3 channels, got {values.shape[1]}; decode them"
        )
    return pixel_values.to_stored(values, levels)


def image_grid(tiles: np.ndarray, columns: int, levels: int) -> np.ndarray:
    """Arrange `tiles` [images, channels, height, width] in rows of `columns` images.

    Returns an image [height, width, 3] in [0, 1] with a white background.
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
    """Show a grid of images in its own axes; a large one is smoothed when it is scaled down."""
    is_large = max(paper.shape[:2]) > SHARP
    axes.imshow(paper, interpolation="auto" if is_large else "none")
    axes.set_axis_off()


def evenly_spaced(num_wanted: int, rows: np.ndarray) -> np.ndarray:
    """Return up to `num_wanted` of `rows`, evenly spaced, starting with the first."""
    num = min(num_wanted, len(rows))
    return rows[np.arange(num) * len(rows) // max(1, num)]


def label_row(axes: Any, text: str) -> None:
    """Write `text` to the left of a row of images."""
    axes.annotate(
        text, (0, 0.5), (-4, 0), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="center", linespacing=1.25,
    )  # fmt: skip
