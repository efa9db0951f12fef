"""Labels at the right ends of lines: one column beside the axes, without overlap.

The label of line i should be at the height y_i where the line ends. The nearest heights z_i that
are at least `gap` apart, in the order of the y_i,

    min sum_i (z_i - y_i)^2   with   z_{i+1} - z_i >= gap ,

are the isotonic regression of y_i - i gap, plus i gap. It is computed by pooling adjacent
violators: neighbours that are too close are replaced by their mean.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

FONT_SIZE = 6.5  # points
SPACE = 8.0  # between axes and labels, points


def spread_heights(heights: np.ndarray, gap: float) -> np.ndarray:
    """Return the heights [n] nearest to `heights` in the same order and at least `gap` apart."""
    order = np.argsort(heights, kind="stable")
    pools: list[list[float]] = []  # [sum, count]
    for position, i in enumerate(order):
        pools.append([heights[i] - position * gap, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, num = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += num
    level = np.concatenate([np.full(num, total / num) for total, num in pools])
    found = np.empty(len(heights))
    found[order] = level + gap * np.arange(len(heights))
    return found


@dataclass(frozen=True)
class LineEndLabels:
    """Labels of the lines of one axes; `points` [n, 2] are the ends of the lines in data units."""

    axes: Any
    points: np.ndarray
    names: list[str]
    colours: list[str]


def write_labels(panels: list[LineEndLabels]) -> None:
    """Write the labels to the right of their axes, each joined to its line by a thin line.

    Call this once for all panels of a figure, after everything else is drawn and all axes have
    their limits.
    """
    texts = [
        [
            panel.axes.annotate(
                name, (1, 0.5), (SPACE, 0), xycoords="axes fraction",
                textcoords="offset points", fontsize=FONT_SIZE, va="center", color=colour,
            )
            for name, colour in zip(panel.names, panel.colours, strict=True)
        ]
        for panel in panels
    ]  # fmt: skip
    panels[0].axes.figure.draw_without_rendering()  # makes room for the labels
    for panel, own in zip(panels, texts, strict=True):
        _place(panel, own)


def _place(panel: LineEndLabels, texts: list) -> None:
    axes = panel.axes
    unit, window = axes.figure.dpi / 72, axes.get_window_extent()
    pixels = axes.transData.transform(panel.points)
    heights = spread_heights(pixels[:, 1], 1.15 * FONT_SIZE * unit)
    if np.ptp(heights) < window.height:  # move all labels into the panel if they fit
        heights += max(0, window.y0 - heights.min()) - max(0, heights.max() - window.y1)
    for text, z, end, colour in zip(texts, heights, pixels, panel.colours, strict=True):
        text.set_position((SPACE, (z - (window.y0 + window.y1) / 2) / unit))
        corner = [window.x1 + (SPACE - 1.5) * unit, z]
        path = [end, [window.x1 + 1.5 * unit, end[1]], corner]
        axes.plot(
            *axes.transAxes.inverted().transform(path).T, transform=axes.transAxes, color=colour,
            linewidth=0.4, zorder=1, clip_on=False, scalex=False, scaley=False,
        )  # fmt: skip
