"""Arms in rows: the frame of every dot plot, with a heading for each group of arms."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from routing.figures.shared import arm_selection, arm_styles, page_layout, style
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs

HEADING = 1.15  # rows taken by a heading, with the space above it
LEAST = 1.5  # width of the axes, in
TICKS = 4  # steps between them, at most
POWERS = (-2, 4)  # of ten, that are set apart from there on


@dataclass(frozen=True)
class DotPlotRows:
    """Arms from top to bottom: y of each arm, of each heading, and the span of each group."""

    of_arm: dict[str, float]
    headings: dict[str, float]
    spans: dict[str, tuple[float, float]]

    @property
    def height(self) -> float:
        """Height on paper, in."""
        return style.ROW * (max(self.of_arm.values()) + 1.2)

    def new_figure(self, label: str, beside: float, names: dict[str, str] | None = None) -> Any:
        """An empty figure a column wide, or as wide as the names need, with `label` at its foot.

        `beside` is the height of what else stands above or below the axes, in; `names` are other
        names for the arms.
        """
        told = [display_name((names or {}).get(arm, arm)) for arm in self.of_arm]
        width = max(style.COLUMN, page_layout.text_width([*self.headings, *told]) + LEAST)
        lines = page_layout.wrap_text(label, width - 0.1)
        figure = page_layout.new_figure(width, self.height + beside + style.LINE * len(lines))
        figure.supxlabel("\n".join(lines), x=0.5)
        return figure

    def draw_frame(self, axes: Any, labelled: bool = True, names: dict[str, str] | None = None) -> None:
        """Lines to follow by eye and the names of arms and groups (in italics) on the left.

        `names` are other names for the arms.
        """
        places = [*self.headings.values(), *self.of_arm.values()]
        told = [display_name((names or {}).get(arm, arm)) for arm in self.of_arm]
        axes.set_yticks(places, [*self.headings, *told])
        for text in axes.get_yticklabels()[: len(self.headings)]:
            text.set_fontstyle("italic")
        axes.tick_params(axis="y", length=0, labelleft=labelled)
        axes.hlines(
            list(self.of_arm.values()), 0, 1, transform=axes.get_yaxis_transform(),
            color="#EBEBEB", linewidth=0.5, zorder=0,
        )  # fmt: skip
        axes.spines["left"].set_visible(False)
        axes.set_ylim(max(places) + 0.7, min(places) - 0.6)

    def draw_values(self, axes: Any, inputs: FigureInputs, table: pd.DataFrame) -> None:
        """The values and intervals (arm, value, lo, hi) of the arms here, each in its look."""
        shown = table[table["arm"].isin(list(self.of_arm))]
        half = np.maximum(shown["hi"] - shown["value"], shown["value"] - shown["lo"])
        page_layout.fit_scale(axes, "x", shown["value"].to_numpy(), half.to_numpy())
        for row in shown.itertuples():
            error = [[row.value - row.lo], [row.hi - row.value]]
            look = arm_styles.arm_style(inputs, row.arm).points()
            axes.errorbar(row.value, self.of_arm[row.arm], xerr=error, elinewidth=1, **look)


def format_value_axis(axes: Any) -> None:
    """Few ticks with short numbers, a power of ten set apart where they are small or large.

    To be called when all is drawn; the figure gets a line more for the power.
    """
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axes.grid(axis="x", zorder=0)
    if axes.get_xscale() != "linear":
        return
    ticks = MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3)
    numbers = ScalarFormatter(useMathText=True)
    numbers.set_powerlimits(POWERS)
    axes.xaxis.set_major_locator(ticks)
    axes.xaxis.set_major_formatter(numbers)
    low, high = axes.get_xlim()
    largest = max(abs(x) for x in ticks.tick_values(low, high) if low <= x <= high)
    if not POWERS[0] < math.floor(math.log10(largest)) < POWERS[1]:
        axes.figure.set_figheight(axes.figure.get_figheight() + style.LINE)


def grouped_rows(
    inputs: FigureInputs, names: list[str], values: dict[str, float], sign: int
) -> DotPlotRows:
    """Rows of the arms `names` in their groups; in each the best is on top, by `sign`.

    sign 1: the highest of `values` first, -1: the lowest, 0: in the order of the config.
    """
    ordered = {
        title: sorted(members, key=lambda arm: -sign * values[arm])
        for title, members in arm_selection.group_arms(inputs, names).items()
    }
    return stacked_rows(ordered)


def stacked_rows(groups: dict[str, list[str]]) -> DotPlotRows:
    """Rows of the arms of each group, in the order given, under a heading of its own."""
    y, of_arm, headings, spans = 0.0, {}, {}, {}
    for title, members in groups.items():
        if headings:
            y += HEADING - 1
        headings[title], first = y, y
        for arm in members:
            y += 1
            of_arm[arm] = y
        spans[title] = (first + 0.5, y + 0.5)
        y += 1
    return DotPlotRows(of_arm, headings, spans)
