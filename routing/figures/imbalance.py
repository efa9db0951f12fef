"""Quality against the imbalance of the partition: does a good partition have equal clusters?

A point is a partition, a panel a policy. Imbalance is the entropy of the priors over its largest
value log K (1: equal clusters), or the largest cluster over the smallest (1: equal, log axis).
Above each panel stands Spearman's rank correlation rho with its number of partitions n: partitions
are few and chosen by hand, so it describes these and tests nothing.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from routing.figures.shared import metric_labels, page_layout, partition_arms, style
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

COLUMNS = 3
MEASURES = {  # quantity of the report, its words
    "entropy": ("evenness_train", "entropy of cluster shares / $\\log K$"),
    "ratio": ("size_ratio_train", "largest cluster / smallest"),
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # by number of experts, in rising order
TICKS = (1, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 1000)


@dataclass(frozen=True)
class Imbalance:
    """One metric over the imbalance of the partition; families {name: [partition, ...]}."""

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
        """Refuse empty families."""
        partition_arms.require_families("imbalance", self.families)

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Panels in the order of the policies; 95 % intervals."""
        from matplotlib.ticker import MaxNLocator

        table = self._table(inputs)
        names = partition_arms.policies_in(inputs, self, table)
        columns = page_layout.balanced_columns(len(names), COLUMNS)
        width = style.PAGE if columns > 1 else style.COLUMN
        figure, axes = page_layout.panel_grid(
            len(names), columns, width, 1.9, sharex=True, sharey=True
        )
        page_layout.fit_scale(
            axes[0], "y", table["value"].to_numpy(), table["half_width"].to_numpy()
        )
        for ax, policy in zip(axes, names, strict=True):
            handles = partition_arms.draw_monolith(ax, table)
            rows = table[
                (table["policy"] == policy) & (table["family"] != partition_arms.MONOLITH)
            ]
            for row in metric_labels.clip_intervals(rows).itertuples():
                error = [[row.value - row.lo], [row.hi - row.value]]
                look = self._points(inputs, row.family) | {"elinewidth": 0.9}
                marker = marker_of(row.num_experts, table)
                ax.errorbar(row.imbalance, row.value, yerr=error, marker=marker, **look)
            ax.set_title(f"{display_name(policy)}: {_correlation(rows)}")
            ax.grid(zorder=0)
        if self.measure == "ratio":
            _ratio_axis(axes, table["imbalance"].dropna().to_numpy())
        else:
            axes[0].xaxis.set_major_locator(MaxNLocator(5))
        figure.supxlabel(MEASURES[self.measure][1])
        figure.supylabel(partition_arms.axis_label(self.metric))
        page_layout.legend_above(figure, [*self._handles(inputs, table), *handles], 6)
        return Drawing(table, figure)

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """The metric's rows with `imbalance` and its `measure`; the monolith has none."""
        table = partition_arms.metric_rows(inputs, self, self.families)
        quantity = MEASURES[self.measure][0]
        values = {
            partition: partition_arms.partition_quantities(inputs.partition_report(partition))[
                quantity
            ]
            for partition in set(table["partition"][table["family"] != partition_arms.MONOLITH])
        }
        return table.assign(imbalance=table["partition"].map(values), measure=self.measure)

    def _points(self, inputs: FigureInputs, family: str) -> dict[str, Any]:
        return partition_arms.family_style(inputs, self.families, family) | {"linestyle": "none"}

    def _handles(self, inputs: FigureInputs, table: pd.DataFrame) -> list:
        """What colours and markers mean."""
        from matplotlib.lines import Line2D

        own = table[table["family"] != partition_arms.MONOLITH]
        families = [family for family in self.families if family in set(own["family"])]
        colours = [
            Line2D([], [], marker="o", label=display_name(family), **self._points(inputs, family))
            for family in families
        ]
        shape = {"linestyle": "none", "color": style.GREY}
        markers = [
            Line2D([], [], marker=marker_of(num, table), label=f"$K$ = {num}", **shape)
            for num in sorted(set(own["num_experts"]))
        ]
        return [*colours, *markers]


def spearman(x: pd.Series, y: pd.Series) -> float:
    """Rank correlation, equal values at their mean rank; nan where either does not vary."""
    a, b = (np.asarray(v.rank()) - (len(v) + 1) / 2 for v in (x, y))
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def marker_of(num_experts: int, table: pd.DataFrame) -> str:
    """The marker of a number of experts among those of the table."""
    own = sorted(set(table["num_experts"][table["family"] != partition_arms.MONOLITH]))
    return MARKERS[own.index(num_experts) % len(MARKERS)]


def _correlation(rows: pd.DataFrame) -> str:
    rho = spearman(rows["imbalance"], rows["value"])
    told = "–" if np.isnan(rho) else f"{rho:.2f}".replace("-", "−")
    return f"$\\rho$ = {told} ($n$ = {len(rows)})"


def _ratio_axis(axes: np.ndarray, ratios: np.ndarray) -> None:
    """Logarithmic, with round ratios as ticks."""
    from matplotlib.ticker import NullLocator

    low, high = ratios.min() / 1.05, ratios.max() * 1.05
    kept: list[float] = []
    for tick in TICKS:
        spaced = not kept or np.log(tick / kept[-1]) > 0.12 * np.log(high / low)
        if low <= tick <= high and spaced:
            kept.append(tick)
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlim(low, high)
        ax.set_xticks(kept, [f"{tick:g}" for tick in kept])
        ax.xaxis.set_minor_locator(NullLocator())
