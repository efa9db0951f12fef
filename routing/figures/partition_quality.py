"""Quality by partition: a metric over the number of experts, a line per family of partitions.

A panel is a policy. In all of them the line across is the monolith under the same sampler, with
its interval: what one network trained on all the data does.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import arms, divisions, ends, style, words
from routing.figures.shared.inputs import Inputs
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
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    def __post_init__(self):
        """Refuse empty families."""
        divisions.refuse_families("partition_quality", self.families)

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """Panels in the order of the policies; 95 % intervals."""
        table = divisions.measured(inputs, self, self.families)
        self._refuse_ties(inputs)
        names = divisions.policies(inputs, self, table)
        columns = style.balanced(len(names), COLUMNS)
        width = style.PAGE if columns > 1 else style.COLUMN + 0.6
        figure, axes = style.panels(len(names), columns, width, 1.9, sharex=True, sharey=True)
        style.fit_scale(axes[0], "y", table["value"].to_numpy(), table["half_width"].to_numpy())
        for ax, policy in zip(axes, names, strict=True):
            handles = divisions.monolith(ax, table)
            self._lines(ax, inputs, table[table["policy"] == policy])
            ax.set_title(arms.label(policy))
            ax.grid(axis="y", zorder=0)
        _experts_axis(axes, table)
        figure.supxlabel("number of experts $K$")
        figure.supylabel(divisions.axis_label(self.metric))
        if handles:
            style.legend(figure, handles, 1)
        ends.write(
            [
                self._ends(ax, inputs, table[table["policy"] == policy])
                for ax, policy in zip(axes, names, strict=True)
            ]
        )
        return Drawing(table, figure)

    def _lines(self, axes: Any, inputs: Inputs, rows: pd.DataFrame) -> None:
        for family, (x, own) in self._members(words.within(rows)).items():
            value = own["value"].to_numpy()
            error = np.abs(own[["lo", "hi"]].to_numpy().T - value)
            look = divisions.look(inputs, self.families, family)
            axes.errorbar(x, value, yerr=error, marker="o", markersize=3, elinewidth=0.9, **look)

    def _ends(self, axes: Any, inputs: Inputs, rows: pd.DataFrame) -> ends.Ends:
        """The family of each line, at its last point."""
        found = self._members(rows)
        points = np.array([[x[-1], own["value"].iloc[-1]] for x, own in found.values()])
        colours = [divisions.look(inputs, self.families, family)["color"] for family in found]
        return ends.Ends(axes, points, list(map(arms.label, found)), colours)

    def _members(self, rows: pd.DataFrame) -> dict[str, tuple[np.ndarray, pd.DataFrame]]:
        """x and the rows of each family, from few experts to many."""
        middle = (len(self.families) - 1) / 2
        found = {}
        for i, family in enumerate(self.families):
            own = rows[rows["family"] == family].sort_values("num_experts")
            if len(own):
                found[family] = (own["num_experts"].to_numpy() * 2 ** (DODGE * (i - middle)), own)
        return found

    def _refuse_ties(self, inputs: Inputs) -> None:
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

    numbers = sorted(set(table["num_experts"][table["family"] != divisions.MONOLITH]))
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xticks(numbers, [f"{n}" for n in numbers])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xlim(numbers[0] / 1.2, numbers[-1] * 1.2)
