"""Quality by partition: a metric over the number of experts, a line per family of partitions.

A panel is a policy. In all of them the line across is the monolith under the same sampler, with
its interval: what one network trained on all the data does.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import (
    line_end_labels,
    metric_labels,
    page_layout,
    partition_arms,
    style,
)
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

COLUMNS = 3
DODGE = 0.035  # of a factor of 2, between families at one number of experts


@dataclass(frozen=True)
class PartitionQuality:
    """One metric over K, a line per family {name: [partition, ...]}, a panel per policy."""

    metric: str
    families: dict[str, list[str]]
    sampler: str
    policies: tuple[str, ...] = ()
    router: str | None = None
    guidance: str | None = None

    needs: ClassVar[tuple[str, ...]] = ("metrics",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Refuse empty families."""
        partition_arms.require_families("partition_quality", self.families)

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Panels in the order of the policies; 95 % intervals."""
        table = partition_arms.metric_rows(inputs, self, self.families)
        self._refuse_ties(inputs)
        names = partition_arms.policies_in(inputs, self, table)
        columns = page_layout.balanced_columns(len(names), COLUMNS)
        width = style.PAGE if columns > 1 else style.COLUMN + 0.6
        figure, axes = page_layout.panel_grid(
            len(names), columns, width, 1.9, sharex=True, sharey=True
        )
        page_layout.fit_scale(
            axes[0], "y", table["value"].to_numpy(), table["half_width"].to_numpy()
        )
        for ax, policy in zip(axes, names, strict=True):
            handles = partition_arms.draw_monolith(ax, table)
            self._lines(ax, inputs, table[table["policy"] == policy])
            ax.set_title(display_name(policy))
            ax.grid(axis="y", zorder=0)
        _experts_axis(axes, table)
        figure.supxlabel("number of experts $K$")
        figure.supylabel(partition_arms.axis_label(self.metric))
        if handles:
            page_layout.legend_above(figure, handles, 1)
        line_end_labels.write_labels(
            [
                self._ends(ax, inputs, table[table["policy"] == policy])
                for ax, policy in zip(axes, names, strict=True)
            ]
        )
        return Drawing(table, figure)

    def _lines(self, axes: Any, inputs: FigureInputs, rows: pd.DataFrame) -> None:
        for family, (x, own) in self._members(metric_labels.clip_intervals(rows)).items():
            value = own["value"].to_numpy()
            error = np.abs(own[["lo", "hi"]].to_numpy().T - value)
            look = partition_arms.family_style(inputs, self.families, family)
            axes.errorbar(x, value, yerr=error, marker="o", markersize=3, elinewidth=0.9, **look)

    def _ends(
        self, axes: Any, inputs: FigureInputs, rows: pd.DataFrame
    ) -> line_end_labels.LineEndLabels:
        """The family of each line, at its last point."""
        found = self._members(rows)
        points = np.array([[x[-1], own["value"].iloc[-1]] for x, own in found.values()])
        colours = [
            partition_arms.family_style(inputs, self.families, family)["color"] for family in found
        ]
        return line_end_labels.LineEndLabels(axes, points, list(map(display_name, found)), colours)

    def _members(self, rows: pd.DataFrame) -> dict[str, tuple[np.ndarray, pd.DataFrame]]:
        """x and the rows of each family, from few experts to many."""
        middle = (len(self.families) - 1) / 2
        found = {}
        for i, family in enumerate(self.families):
            own = rows[rows["family"] == family].sort_values("num_experts")
            if len(own):
                found[family] = (own["num_experts"].to_numpy() * 2 ** (DODGE * (i - middle)), own)
        return found

    def _refuse_ties(self, inputs: FigureInputs) -> None:
        """A line over K has one value at each."""
        for family, partitions in self.families.items():
            numbers = [inputs.num_experts[p] for p in partitions]
            if len(set(numbers)) < len(numbers):
                raise ValueError(
                    f"families: wanted partitions of different numbers of experts in {family!r}, "
                    f"got {numbers}; make it two families"
                )


def _experts_axis(axes: np.ndarray, table: pd.DataFrame) -> None:
    """Logarithmic, with the numbers of experts that occur as ticks."""
    from matplotlib.ticker import NullLocator

    numbers = sorted(set(table["num_experts"][table["family"] != partition_arms.MONOLITH]))
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xticks(numbers, [f"{n}" for n in numbers])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(numbers[0] / 1.2, numbers[-1] * 1.2)
