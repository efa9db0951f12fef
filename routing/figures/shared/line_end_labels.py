"""Names at the ends of lines: in a column on the right of the axes, none upon another.

Every name wants the height y_i of its line's end. Heights z_i at least `gap` apart in the order
of the y_i, as near to them as can be,

    min sum_i (z_i - y_i)^2   with   z_{i+1} - z_i >= gap ,

are an isotonic regression of y_i - i gap: neighbours that are too near are pooled at their mean.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

FONT_SIZE = 6.5  # of the type, points
SPACE = 8.0  # from the axes to the names, points


def spread_heights(heights: np.ndarray, gap: float) -> np.ndarray:
    """Heights [n] nearest to `heights` of which no two are closer than `gap`, in their order."""
    order = np.argsort(heights, kind="stable")
    pools: list[list[float]] = []  # [sum, number]
    for place, i in enumerate(order):
        pools.append([heights[i] - place * gap, 1])
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
    """Names of the lines of one axes, for their ends [n, 2] in data units."""

    axes: Any
    points: np.ndarray
    names: list[str]
    colours: list[str]


def write_labels(panels: list[LineEndLabels]) -> None:
    """Write the names right of their axes, each joined by a thin line to its end.

    To be called once for all panels of a figure, when everything else is drawn and all axes have
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
    panels[0].axes.figure.draw_without_rendering()  # makes room for them: now pixels are known
    for panel, own in zip(panels, texts, strict=True):
        _place(panel, own)


def _place(panel: LineEndLabels, texts: list) -> None:
    axes = panel.axes
    unit, window = axes.figure.dpi / 72, axes.get_window_extent()
    pixels = axes.transData.transform(panel.points)
    heights = spread_heights(pixels[:, 1], 1.15 * FONT_SIZE * unit)
    if np.ptp(heights) < window.height:  # all within the panel, if they fit
        heights += max(0, window.y0 - heights.min()) - max(0, heights.max() - window.y1)
    for text, z, end, colour in zip(texts, heights, pixels, panel.colours, strict=True):
        text.set_position((SPACE, (z - (window.y0 + window.y1) / 2) / unit))
        corner = [window.x1 + (SPACE - 1.5) * unit, z]
        path = [end, [window.x1 + 1.5 * unit, end[1]], corner]
        axes.plot(
            *axes.transAxes.inverted().transform(path).T, transform=axes.transAxes, color=colour,
            linewidth=0.4, zorder=1, clip_on=False, scalex=False, scaley=False,
        )  # fmt: skip
