"""Which arms differ significantly in one metric: which is better, and by how much.

Rows and columns are the arms in the order of their values, so the arm in the row is better above
the diagonal. The hue shows which of the two is better, the shade the size of the difference. Cells
of pairs that do not differ significantly are white.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from routing.figures.shared import arm_pairs, metric_labels, page_layout, style
from routing.figures.shared.arm_pairs import ArmPairs
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label, figure_text
from routing.figures.shared.style import Drawing

# Colours of the smallest and of the largest difference, each for better and worse.
LIGHT, DARK = ("#C9DFF2", "#FBDDBF"), ("#08306B", "#7F2F00")
LOG_RATIO = 30.0  # largest / smallest difference above which the shade is logarithmic
MIN_CELL, MAX_CELL, NUMBER = 0.06, 0.22, 0.11  # width of a cell, and of its number, in
KEY = 0.26  # height of the colour bar, in
Colours = Float[np.ndarray, "*cells rgb"]


@dataclass(frozen=True)
class Distinguishable:
    """Heat map of the significant differences in one metric between all pairs of arms.

    The level is 5 %, with Holm's correction for all pairs of the arms shown.
    """

    metric: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "comparisons")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw rows and columns from best to worst; a column has the number of its row.

        If no pair differs significantly there is no colour bar.
        """
        found = arm_pairs.all_pairs(inputs, self.metric, self.arms)
        num, names = len(found.arms), list(map(figure_label, found.arms["arm"]))
        names_width = page_layout.text_width([f"{name}  {num}" for name in names]) + 0.15
        cell = min(MAX_CELL, max(MIN_CELL, (style.PAGE - names_width) / num))
        width, high = max(style.COLUMN, names_width + cell * num), max(style.ROW, cell)
        sizes = np.abs(found.differences())[found.is_distinguishable()]
        colours = _colours(found, sizes, metric_labels.direction(self.metric) or 1)
        if len(sizes):
            label = f"size of the difference: {metric_labels.metric_label(self.metric)}"
            lines = page_layout.wrap_text(figure_text(label), width - 0.1)
            figure = page_layout.new_figure(width, high * num + KEY + 0.65 + 0.13 * len(lines))
            axes, bar = figure.subplots(2, 1, height_ratios=[high * num, KEY])
            _colour_bar(bar, sizes, self.metric)
            figure.supxlabel("\n".join(lines), x=0.5)
        else:
            figure = page_layout.new_figure(width, high * num + 0.45)
            axes = figure.subplots()
        axes.imshow(colours, aspect="auto")
        _frame(axes, names, cell)
        page_layout.legend_above(figure, _handles(num), 1)
        return Drawing(found.pairs, figure)


def tone(is_better: Bool[np.ndarray, "*cells"], depth: Float[np.ndarray, "*cells"]) -> Colours:
    """Return colours of the hue of better or worse, from light (depth 0) to dark (depth 1)."""
    from matplotlib.colors import to_rgb

    light, dark = (np.array(list(map(to_rgb, pair))) for pair in (LIGHT, DARK))
    hue = 1 - is_better.astype(int)
    return light[hue] + depth[..., None] * (dark[hue] - light[hue])


def depths(
    size: Float[np.ndarray, "*cells"], sizes: Float[np.ndarray, " pairs"]
) -> Float[np.ndarray, "*cells"]:
    """Return the depth in [0, 1] of differences of this `size`; `sizes` are all sizes drawn."""
    if is_log(sizes):
        return np.log(size / sizes.min()) / np.log(sizes.max() / sizes.min())
    return size / sizes.max()


def is_log(sizes: Float[np.ndarray, " pairs"]) -> bool:
    """Return whether the shade is logarithmic in the size."""
    return bool(sizes.max() > LOG_RATIO * sizes.min())


def _colours(found: ArmPairs, sizes: np.ndarray, sign: int) -> np.ndarray:
    """Return cells [arms, arms, 3], white if not significant and grey on the diagonal."""
    from matplotlib.colors import to_rgb

    is_apart, differences = found.is_distinguishable(), found.differences()
    cells = np.ones((*is_apart.shape, 3))
    if len(sizes):
        apart = differences[is_apart]
        cells[is_apart] = tone(sign * apart > 0, depths(np.abs(apart), sizes))
    cells[np.diag_indices(len(cells))] = to_rgb(style.BAND)
    return cells


def _frame(axes: Any, names: list[str], cell: float) -> None:
    """Write names on the left and numbers at the top; narrow cells get every second or third."""
    num = len(names)
    shown = range(0, num, math.ceil(NUMBER / cell))
    axes.set_yticks(range(num), [f"{name}  {_bold(i + 1)}" for i, name in enumerate(names)])
    axes.set_xticks(shown, [_bold(i + 1) for i in shown])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_xticks(np.arange(num - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(num - 1) + 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", linewidth=0.3)
    axes.spines[:].set(visible=True, color=style.BAND)


def _bold(number: int) -> str:
    return rf"$\mathbf{{{number}}}$"


def _colour_bar(axes: Any, sizes: np.ndarray, metric: str) -> None:
    """Draw the colour bar: the two hues over the size of the difference."""
    low, high = (sizes.min() if is_log(sizes) else 0.0), sizes.max()
    ends = np.geomspace(low, high, 129) if is_log(sizes) else np.linspace(low, high, 129)
    is_better = np.array([[False], [True]]) & np.ones((2, 128), bool)
    colours = tone(is_better, np.tile(depths((ends[1:] + ends[:-1]) / 2, sizes), (2, 1)))
    axes.pcolormesh(ends, [0, 1, 2], colours)
    axes.set_xscale("log" if is_log(sizes) else "linear")
    axes.set_xlim(low, high)
    which = ("worse", "better") if metric_labels.direction(metric) else ("lower", "higher")
    axes.set_yticks([0.5, 1.5], [f"row is {word}" for word in which])
    axes.tick_params(axis="y", length=0)
    axes.spines[:].set_visible(False)


def _handles(num: int) -> list[Any]:
    from matplotlib.patches import Patch

    text = f"the two do not differ significantly ({arm_pairs.correction_text(num)})"
    return [Patch(facecolor="white", edgecolor=style.GREY, linewidth=0.5, label=text)]
