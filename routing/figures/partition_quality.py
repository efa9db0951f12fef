"""Quality over the number of experts, a line per family of partitions and a panel per policy.

The horizontal line in every panel is the monolith, one network trained on all the data, under the
same sampler; the band is its interval.
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
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.intervals import draw_intervals
from routing.figures.shared.policy_panels import policy_panels
from routing.figures.shared.style import Drawing

SHIFT = 0.035  # in log2 K, between families with equal numbers of experts


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
        """Validate the options."""
        partition_arms.require_families("partition_quality", self.families)

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Panels in the order of the policies, with 95 % intervals."""
        table = partition_arms.metric_rows(inputs, self, self.families)
        self._require_different_numbers(inputs)
        figure, panels, handles = policy_panels(inputs, self, table, style.COLUMN + 0.6)
        for policy, ax in panels.items():
            self._draw_lines(ax, inputs, table[table["policy"] == policy])
            ax.set_title(figure_label(policy))
            ax.grid(axis="y", zorder=0)
        _experts_axis(list(panels.values()), table)
        figure.supxlabel("number of experts $K$")
        if handles:
            page_layout.legend_above(figure, handles, 1)
        line_end_labels.write_labels(
            [
                self._end_labels(ax, inputs, table[table["policy"] == policy])
                for policy, ax in panels.items()
            ]
        )
        return Drawing(table, figure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return the arms of the families."""
        return partition_arms.asked_arms(inputs, self, self.families)

    def _draw_lines(self, axes: Any, inputs: FigureInputs, rows: pd.DataFrame) -> None:
        for family, (x, own) in self._by_family(metric_labels.clip_intervals(rows)).items():
            line = partition_arms.family_style(inputs, self.families, family)
            draw_intervals(axes, own, x=x, marker="o", markersize=3, elinewidth=0.9, **line)

    def _end_labels(
        self, axes: Any, inputs: FigureInputs, rows: pd.DataFrame
    ) -> line_end_labels.LineEndLabels:
        """Return the name of each family, at the last point of its line."""
        found = self._by_family(rows)
        points = np.array([[x[-1], own["value"].iloc[-1]] for x, own in found.values()])
        colours = [
            partition_arms.family_style(inputs, self.families, family)["color"] for family in found
        ]
        names = list(map(figure_label, found))
        return line_end_labels.LineEndLabels(axes, points, names, colours)

    def _by_family(self, rows: pd.DataFrame) -> dict[str, tuple[np.ndarray, pd.DataFrame]]:
        """Return {family: (x, rows)}, sorted by the number of experts."""
        middle = (len(self.families) - 1) / 2
        found = {}
        for i, family in enumerate(self.families):
            is_own = (rows["family"] == family) & ~rows["is_monolith"]
            own = rows[is_own].sort_values("num_experts")
            if len(own):
                found[family] = (own["num_experts"].to_numpy() * 2 ** (SHIFT * (i - middle)), own)
        return found

    def _require_different_numbers(self, inputs: FigureInputs) -> None:
        """Raise ValueError if two partitions of a family have the same number of experts."""
        for family, partitions in self.families.items():
            numbers = [inputs.num_experts[p] for p in partitions]
            if len(set(numbers)) < len(numbers):
                raise ValueError(
                    f"families: wanted partitions of different numbers of experts in {family!r}, "
                    f"got {numbers}; make it two families"
                )


def _experts_axis(panels: list, table: pd.DataFrame) -> None:
    """Make the x axes logarithmic, with the numbers of experts that occur as ticks."""
    from matplotlib.ticker import NullLocator

    numbers = sorted(set(table["num_experts"][~table["is_monolith"]]))
    for ax in panels:
        ax.set_xscale("log", base=2)
        ax.set_xticks(numbers, [f"{n}" for n in numbers])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(numbers[0] / 1.2, numbers[-1] * 1.2)
