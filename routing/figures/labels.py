"""Labels beside points of a plot, without overlap: a small greedy search, always the same answer.

Each label tries places around its point, near ones first, and takes the first that is free: that
lies within the axes and covers no point, interval, line or label. If none is free it takes the
place that covers least. A label away from its point gets a thin line to it. All in pixels.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Box:
    """A rectangle on the canvas."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: "Box") -> float:
        """Area shared with `other`."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, width) * max(0.0, height)

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


def place(
    points: np.ndarray, sizes: np.ndarray, taken: list[Box], frame: Box, gap: float
) -> list[Box]:
    """Boxes of labels of `sizes` [labels, 2] for `points` [labels, 2], clear of each other.

    `taken` is what they may not cover, `frame` where they must lie, `gap` the distance of the
    nearest place. The most crowded points choose first.
    """
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    crowd = (distance < 6 * sizes[:, 1].max()).sum(1)
    boxes: dict[int, Box] = {}
    taken = list(taken)
    for i in np.argsort(-crowd, kind="stable"):
        candidates = _around(points[i], sizes[i], gap)
        cost = [_cost(box, taken, frame) for box in candidates]
        boxes[i] = candidates[int(np.argmin(cost))]  # the first of the least
        taken.append(boxes[i])
    return [boxes[i] for i in range(len(points))]


def write(
    axes: Any, points: np.ndarray, names: list[str], taken: np.ndarray, colours: list[str]
) -> None:
    """Write `names` at `points` (data units), clear of the segments `taken` [n, 2 ends, 2].

    To be called when everything else is drawn and the axes have their limits.
    """
    figure = axes.figure
    figure.draw_without_rendering()  # settles the layout, so that pixels are known
    texts = [
        axes.annotate(
            name,
            point,
            (0, 0),
            textcoords="offset points",
            fontsize=6.5,
            va="center",
            color=colour,
        )
        for name, point, colour in zip(names, points, colours, strict=True)
    ]
    extents = [text.get_window_extent() for text in texts]
    sizes = np.array([[e.width, e.height * 0.8] for e in extents])
    pixels = axes.transData.transform(points)
    ends = axes.transData.transform(taken.reshape(-1, 2)).reshape(-1, 2, 2)
    unit = figure.dpi / 72
    window = axes.get_window_extent()
    inset = 2 * unit
    frame = Box(window.x0 + inset, window.y0 + inset, window.x1 - inset, window.y1 - inset)
    dots = [Box(x - 3 * unit, y - 3 * unit, x + 3 * unit, y + 3 * unit) for x, y in pixels]
    lines = [box for pair in ends for box in _around_segment(*pair, unit)]
    boxes = place(pixels, sizes, dots + lines, frame, 4.5 * unit)
    for text, point, box in zip(texts, pixels, boxes, strict=True):
        middle = (box.y0 + box.y1) / 2
        text.set_position(((box.x0 - point[0]) / unit, (middle - point[1]) / unit))
        text.set_in_layout(False)
        nearest = np.clip(point, (box.x0, box.y0), (box.x1, box.y1))
        if np.linalg.norm(nearest - point) > 7 * unit:
            ends = axes.transData.inverted().transform([point, nearest])
            axes.plot(*ends.T, color="#8C8C8C", linewidth=0.4, zorder=1)


def _around(point: np.ndarray, size: np.ndarray, gap: float) -> list[Box]:
    """Candidate boxes, near ones first; of equally near ones above first, then on the right."""
    (x, y), (width, height) = point, size
    found = []
    for ring, up, side, push in product(range(12), (1, -1), (1, -1), (0, 2, 5, 9)):
        rise, shift = 0.75 * height * ring, gap * (1 + push)
        left = x + shift if side > 0 else x - shift - width
        low = y + up * rise - height / 2
        found.append((np.hypot(rise, gap * push), Box(left, low, left + width, low + height)))
    return [box for _, box in sorted(found, key=lambda pair: pair[0])]


def _cost(box: Box, taken: list[Box], frame: Box) -> float:
    covered = sum(box.overlap(other) for other in taken)
    return covered + 10 * (box.area - box.overlap(frame))


def _around_segment(a: np.ndarray, b: np.ndarray, unit: float) -> list[Box]:
    """Boxes along a segment: one if it is level or upright, else a chain of small ones."""
    is_slanted = np.abs(b - a).min() > 2 * unit
    num = max(1, int(np.linalg.norm(b - a) / (6 * unit))) if is_slanted else 1
    at = a + (b - a) * np.linspace(0, 1, num + 1)[:, None]
    pairs = zip(at[:-1], at[1:], strict=True)
    return [Box(*np.minimum(p, q) - unit, *np.maximum(p, q) + unit) for p, q in pairs]
