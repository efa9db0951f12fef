"""Quality over the imbalance of the partition.

A point is a partition, a panel a policy. The measure of imbalance is the entropy of the cluster
shares over its maximum log K, which is 1 for equal clusters, or the size of the largest cluster
over that of the smallest. Each title has Spearman's rank correlation rho, its 95 % interval
(`routing.statistics.rank_correlation`) and the number n of partitions. The interval takes the
partitions as independent draws, which chosen partitions are not: it shows how little n of them
tell.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from routing.figures.shared import metric_labels, page_layout, partition_arms, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.intervals import draw_intervals
from routing.figures.shared.policy_panels import policy_panels
from routing.figures.shared.style import Drawing

MEASURES = {  # quantity of the report, axis label
    "entropy": ("evenness_train", "entropy of cluster shares / $\\log K$"),
    "ratio": ("size_ratio_train", "largest cluster / smallest"),
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # by number of experts, in rising order
TICKS = (1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000)  # candidates on the axis of ratios


@dataclass(frozen=True)
class Imbalance:
    """One metric over the imbalance of the partition; families are {name: [partition, ...]}."""

    metric: str
    families: dict[str, list[str]]
    sampler: str
    measure: Literal["entropy", "ratio"] = "entropy"
    policies: tuple[str, ...] = ()
    router: str | None = None
    guidance: str | None = None

    needs: ClassVar[tuple[str, ...]] = ("metrics", "reports")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
        partition_arms.require_families("imbalance", self.families)

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Panels in the order of the policies, with 95 % intervals."""
        from matplotlib.ticker import MaxNLocator

        table = self._table(inputs)
        figure, panels, handles = policy_panels(inputs, self, table, style.COLUMN)
        for policy, ax in panels.items():
            is_own = (table["policy"] == policy) & ~table["is_monolith"]
            for row in metric_labels.clip_intervals(table[is_own]).itertuples():
                line = self._points(inputs, row.family) | {"elinewidth": 0.9}
                line["marker"] = marker_of(row.num_experts, table)
                draw_intervals(ax, row, x=row.imbalance, **line)
            ax.set_title(f"{figure_label(policy)}:\n{_correlation(table[is_own])}")
            ax.grid(zorder=0)
        if self.measure == "ratio":
            _ratio_axis(list(panels.values()), table["imbalance"].dropna().to_numpy())
        else:
            ax.xaxis.set_major_locator(MaxNLocator(5))  # of all panels, which share it
        figure.supxlabel(MEASURES[self.measure][1])
        page_layout.legend_above(figure, [*self._handles(inputs, table), *handles], 6)
        return Drawing(table, figure)

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """The metric's rows with `imbalance` and `measure`; NaN for the monolith."""
        table = partition_arms.metric_rows(inputs, self, self.families)
        quantity = MEASURES[self.measure][0]
        own = set(table["partition"][~table["is_monolith"]])
        reports = {partition: inputs.partition_report(partition) for partition in own}
        values = {
            partition: partition_arms.partition_quantities(report)[quantity]
            for partition, report in reports.items()
        }
        return table.assign(imbalance=table["partition"].map(values), measure=self.measure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return the arms of the families."""
        return partition_arms.asked_arms(inputs, self, self.families)

    def _points(self, inputs: FigureInputs, family: str) -> dict[str, Any]:
        return partition_arms.family_style(inputs, self.families, family) | {"linestyle": "none"}

    def _handles(self, inputs: FigureInputs, table: pd.DataFrame) -> list:
        """Return legend handles of the families' colours and of the markers by K."""
        from matplotlib.lines import Line2D

        own = table[~table["is_monolith"]]
        families = [family for family in self.families if family in set(own["family"])]
        colours = [
            Line2D([], [], marker="o", label=figure_label(family), **self._points(inputs, family))
            for family in families
        ]
        grey = {"linestyle": "none", "color": style.GREY}
        markers = [
            Line2D([], [], marker=marker_of(num, table), label=f"$K$ = {num}", **grey)
            for num in sorted(set(own["num_experts"]))
        ]
        return [*colours, *markers]


def spearman(x: pd.Series, y: pd.Series) -> float:
    """Return the rank correlation; ties have their mean rank. NaN if `x` or `y` is constant."""
    a, b = (np.asarray(v.rank()) - (len(v) + 1) / 2 for v in (x, y))
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def marker_of(num_experts: int, table: pd.DataFrame) -> str:
    """Return the marker of a number of experts, by its rank among those of the table."""
    own = sorted(set(table["num_experts"][~table["is_monolith"]]))
    return MARKERS[own.index(num_experts) % len(MARKERS)]


def _correlation(rows: pd.DataFrame) -> str:
    from routing.statistics.rank_correlation import spearman_interval

    rho = spearman(rows["imbalance"], rows["value"])
    number = "–" if np.isnan(rho) else f"{rho:.2f}"
    ends = spearman_interval(rho, len(rows))
    interval = "" if np.isnan(ends[0]) else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
    return f"$\\rho$ = {number}{interval} ($n$ = {len(rows)})".replace("-", "−")


def _ratio_axis(panels: list, ratios: np.ndarray) -> None:
    """Make the x axes logarithmic, with round ratios as ticks."""
    from matplotlib.ticker import NullLocator

    low, high = ratios.min() / 1.05, ratios.max() * 1.05
    kept: list[float] = []
    for tick in TICKS:
        spaced = not kept or np.log(tick / kept[-1]) > 0.12 * np.log(high / low)
        if low <= tick <= high and spaced:
            kept.append(tick)
    for ax in panels:
        ax.set_xscale("log")
        ax.set_xlim(low, high)
        ax.set_xticks(kept, [f"{tick:g}" for tick in kept])
        ax.xaxis.set_minor_locator(NullLocator())
