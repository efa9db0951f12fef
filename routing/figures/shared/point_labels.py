"""Labels beside the points of a plot, placed by a deterministic greedy search.

Points that are above each other and too close for their labels get these as a stack on one side,
in the order of the points, so that the lines from points to labels do not cross. For every other
label a list of positions around its point is tried, near ones first. The first one that is within
the axes and overlaps no point, interval, line or label is taken; if there is none, the one that
overlaps least. A label at a distance from its point is joined to it by a thin line. All
coordinates are pixels.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from routing.figures.shared import line_end_labels

FONT_SIZE = 6.5  # points
PITCH = 1.2  # distance of the lines of a stack, in heights of a label
STEEP = 4  # shift of a label, in lines of a stack, from which a stack is placed further away
FEW = 2  # up to so many labels above each other are placed without a stack


@dataclass(frozen=True)
class Box:
    """A rectangle on the canvas."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlap(self, other: "Box") -> float:
        """Return the area of the intersection with `other`."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, width) * max(0.0, height)

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


def place_labels(
    points: np.ndarray, sizes: np.ndarray, taken: list[Box], frame: Box, gap: float
) -> list[Box]:
    """Return boxes for labels of `sizes` [labels, 2] at `points` [labels, 2].

    `taken` are boxes that labels should not overlap, `frame` is the area in which they should be,
    `gap` the distance of the nearest position. Stacks are placed first, the largest one before the
    others, then the labels of points that have the most points around them.
    """
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    crowd = (distance < 6 * sizes[:, 1].max()).sum(1)
    boxes: dict[int, Box] = {}
    taken = list(taken)
    for column in _crowded(points, sizes, gap):
        stacks = _stacks(points[column], sizes[column], frame, gap)
        cost = [sum(_cost(box, taken, frame) for box in stack) for stack in stacks]
        boxes |= zip(column, stacks[int(np.argmin(cost))], strict=True)
        taken += [boxes[i] for i in column]
    for i in np.argsort(-crowd, kind="stable"):
        if i in boxes:
            continue
        candidates = _around(points[i], sizes[i], gap)
        cost = [_cost(box, taken, frame) for box in candidates]
        boxes[i] = candidates[int(np.argmin(cost))]  # the first of the least
        taken.append(boxes[i])
    return [boxes[i] for i in range(len(points))]


def write_labels(
    axes: Any,
    points: np.ndarray,
    names: list[str],
    taken: np.ndarray,
    colours: list[str],
    lines: list[str],
) -> None:
    """Write `names` at `points` [n, 2], away from the line segments `taken` [segments, 2 ends, 2].

    Points and segments are in data units. `colours` are those of the names, `lines` those of the
    lines from points to names. Call this after everything else is drawn and the axes have their
    limits.
    """
    figure = axes.figure
    figure.draw_without_rendering()  # the layout fixes pixels
    texts = [
        axes.annotate(
            name,
            point,
            (0, 0),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            va="center",
            color=colour,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.3},
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
    drawn = [box for pair in ends for box in _around_segment(*pair, unit)]
    boxes = place_labels(pixels, sizes, dots + drawn, frame, 4.5 * unit)
    for text, point, box, colour in zip(texts, pixels, boxes, lines, strict=True):
        middle = (box.y0 + box.y1) / 2
        text.set_position(((box.x0 - point[0]) / unit, (middle - point[1]) / unit))
        text.set_in_layout(False)
        end = np.array([box.x0 - unit if box.x0 > point[0] else box.x1 + unit, middle])
        if np.linalg.norm(end - point) > 7 * unit:
            path = axes.transData.inverted().transform([point, end])
            fixed = {"scalex": False, "scaley": False}  # new limits would move the points
            axes.plot(*path.T, color=colour, linewidth=0.5, zorder=1, **fixed)


def _crowded(points: np.ndarray, sizes: np.ndarray, gap: float) -> list[list[int]]:
    """Return columns of points whose labels do not fit beside them, the largest column first.

    Neighbours of a column differ by at most `gap` in x. Points are listed from low to high.
    """
    order = np.argsort(points[:, 0], kind="stable")
    starts = np.flatnonzero(np.diff(points[order, 0]) > gap) + 1
    found = []
    for column in np.split(order, starts):
        rising = column[np.argsort(points[column, 1], kind="stable")]
        steps = np.diff(points[rising, 1])
        if len(column) > FEW and steps.min() < sizes[column, 1].max():
            found.append(rising.tolist())
    return sorted(found, key=len, reverse=True)


def _stacks(points: np.ndarray, sizes: np.ndarray, frame: Box, gap: float) -> list[list[Box]]:
    """Return candidate stacks for a column, near ones first, each on the right, then the left."""
    pitch, half = PITCH * sizes[:, 1].max(), sizes[:, 1] / 2
    heights, steps = (
        line_end_labels.spread_heights(points[:, 1], pitch),
        pitch * np.arange(len(points)),
    )
    low, high = frame.y0 + half.max(), frame.y1 - half.max() - steps[-1]
    heights = np.clip(heights - steps, min(low, high), max(low, high)) + steps
    moved = np.abs(heights - points[:, 1]).max()
    near = (1, 3, 6) if moved < half.max() else (3, 6) if moved < STEEP * pitch else (6, 9)
    found = []
    for reach, side in product(near, (1, -1)):
        edge = points[:, 0].max() + reach * gap if side > 0 else points[:, 0].min() - reach * gap
        left = np.full(len(points), edge) if side > 0 else edge - sizes[:, 0]
        corners = np.stack([left, heights - half, left + sizes[:, 0], heights + half], 1)
        found.append([Box(*map(float, corner)) for corner in corners])
    return found


def _around(point: np.ndarray, size: np.ndarray, gap: float) -> list[Box]:
    """Return candidate boxes, near ones first; of equal distance, above and right come first."""
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
    """Return boxes that cover a segment: one if it is horizontal or vertical, else many."""
    is_slanted = np.abs(b - a).min() > 2 * unit
    num = max(1, int(np.linalg.norm(b - a) / (6 * unit))) if is_slanted else 1
    at = a + (b - a) * np.linspace(0, 1, num + 1)[:, None]
    pairs = zip(at[:-1], at[1:], strict=True)
    return [Box(*np.minimum(p, q) - unit, *np.maximum(p, q) + unit) for p, q in pairs]
