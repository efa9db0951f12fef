"""Rows of a dot plot: one per arm, with a heading above each group of arms."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from routing.figures.shared import arm_selection, arm_styles, page_layout, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.intervals import draw_intervals

HEADING = 1.15  # height of a heading and the space above it, in rows
MIN_WIDTH = 1.5  # of the axes, in
MAX_INTERVALS = 4  # between ticks
POWERS = (-2, 4)  # powers of ten from which ticks are written as multiples of that power


@dataclass(frozen=True)
class DotPlotRows:
    """Positions on the y axis: of each arm, of each heading, and the range of each group."""

    of_arm: dict[str, float]
    headings: dict[str, float]
    spans: dict[str, tuple[float, float]]

    @property
    def height(self) -> float:
        """Height of all rows, in."""
        return style.ROW * (max(self.of_arm.values()) + 1.2)

    def new_figure(
        self, label: str, other_height: float, names: dict[str, str] | None = None
    ) -> Any:
        """Return an empty figure with `label` below its axes.

        It is as wide as a column of text, or wider if the names of the rows need it.
        `other_height` is the height of everything above and below the axes, in. `names` replaces
        names of arms.
        """
        row_labels = [figure_label((names or {}).get(arm, arm)) for arm in self.of_arm]
        width = max(
            style.COLUMN, page_layout.text_width([*self.headings, *row_labels]) + MIN_WIDTH
        )
        lines = page_layout.wrap_text(label, width - 0.1)
        figure = page_layout.new_figure(
            width, self.height + other_height + style.LINE * len(lines)
        )
        figure.supxlabel("\n".join(lines), x=0.5)
        return figure

    def draw_frame(
        self, axes: Any, labelled: bool = True, names: dict[str, str] | None = None
    ) -> None:
        """Draw a thin line per arm, and the names of arms and groups (in italics) on the left.

        `names` replaces names of arms.
        """
        positions = [*self.headings.values(), *self.of_arm.values()]
        row_labels = [figure_label((names or {}).get(arm, arm)) for arm in self.of_arm]
        axes.set_yticks(positions, [*self.headings, *row_labels])
        for text in axes.get_yticklabels()[: len(self.headings)]:
            text.set_fontstyle("italic")
        axes.tick_params(axis="y", length=0, labelleft=labelled)
        axes.hlines(
            list(self.of_arm.values()), 0, 1, transform=axes.get_yaxis_transform(),
            color="#EBEBEB", linewidth=0.5, zorder=0,
        )  # fmt: skip
        axes.spines["left"].set_visible(False)
        axes.set_ylim(max(positions) + 0.7, min(positions) - 0.6)

    def draw_values(self, axes: Any, inputs: FigureInputs, table: pd.DataFrame) -> None:
        """Draw the values and intervals in `table` (arm, value, lo, hi)."""
        shown = table[table["arm"].isin(list(self.of_arm))]
        half = np.maximum(shown["hi"] - shown["value"], shown["value"] - shown["lo"])
        page_layout.fit_scale(axes, "x", shown["value"].to_numpy(), half.to_numpy())
        for row in shown.itertuples():
            marker = arm_styles.arm_style(inputs, row.arm).marker_kwargs()
            draw_intervals(axes, row, y=self.of_arm[row.arm], elinewidth=1, **marker)


def format_value_axis(axes: Any) -> None:
    """Set few ticks with short numbers on the x axis, times a power of ten if needed.

    Call this after everything is drawn. The figure becomes one line higher if there is a power.
    """
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    axes.grid(axis="x", zorder=0)
    if axes.get_xscale() != "linear":
        return
    ticks = MaxNLocator(MAX_INTERVALS, steps=[1, 2, 2.5, 5, 10], min_n_ticks=3)
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
    """Return rows of the arms `names` in the groups of `arm_selection.group_arms`.

    A group starts with the highest of `values` if `sign` is 1, with the lowest if it is -1, and
    keeps the order of the config if it is 0.
    """
    ordered = {
        title: sorted(members, key=lambda arm: -sign * values[arm])
        for title, members in arm_selection.group_arms(inputs, names).items()
    }
    return stacked_rows(ordered)


def stacked_rows(groups: dict[str, list[str]]) -> DotPlotRows:
    """Return rows of the arms of {heading: arms}, in this order."""
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
