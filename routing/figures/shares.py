"""Where the samples fall: shares of clusters (or classes) by arm against the training data's."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from routing.figures.shared import (
    arm_styles,
    cluster_members,
    dot_plot_rows,
    metric_labels,
    page_layout,
    style,
)
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

WIDEST = 10  # panels side by side
MOST = 30  # panels: of more classes only the commonest are drawn


@dataclass(frozen=True)
class Shares:
    """A panel per cluster of `partition` (or per class): the share in every arm, and the truth.

    `partition` is the one whose clusters the metrics count (metrics.shares_partition).
    """

    partition: str
    of: Literal["cluster", "class"] = "cluster"
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "data", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Rows are arms in the order of the config, a vertical line is the truth."""
        from matplotlib.ticker import MaxNLocator

        truth = self._truth(inputs)
        names = inputs.selected_arms(self.arms)
        measured = {
            c: inputs.metric_rows(f"{self.of}_share_{c}", inputs.metrics).loc[names] for c in truth
        }
        layout = dot_plot_rows.grouped_rows(inputs, names, dict.fromkeys(names, 0.0), 0)
        columns = page_layout.balanced_columns(len(truth), WIDEST)
        figure, axes = page_layout.panel_grid(
            len(truth), columns, style.PAGE if columns > 2 else style.COLUMN, layout.height + 0.62,
            sharex=True,
        )  # fmt: skip
        for i, (ax, (category, share)) in enumerate(zip(axes, truth.items(), strict=True)):
            ax.axvline(share, color="black", linewidth=0.8, zorder=1)
            for row in metric_labels.clip_intervals(measured[category]).itertuples():
                error = [[row.value - row.lo], [row.hi - row.value]]
                look = arm_styles.arm_style(inputs, row.arm).points() | {"markersize": 3}
                ax.errorbar(row.value, layout.of_arm[row.arm], xerr=error, elinewidth=0.9, **look)
            layout.draw_frame(ax, labelled=i % columns == 0)
            ax.set_title(f"{self.of} {category}")
            ax.tick_params(labelbottom=i >= len(truth) - columns)
            ax.grid(axis="x", zorder=0)
        ends = [metric_labels.clip_intervals(found)["hi"].max() for found in measured.values()]
        highest = max([*truth.values(), *ends])
        axes[0].set_xlim(-0.04 * highest, 1.04 * highest)
        nice = MaxNLocator(2 if columns > 5 else 4, steps=[1, 2, 2.5, 5, 10])
        axes[0].xaxis.set_major_locator(nice)
        axes[0].xaxis.set_major_formatter("{x:g}")
        figure.supxlabel("share of samples (95 % interval); line: share of the training images")
        return Drawing(_table(truth, measured), figure)

    def _truth(self, inputs: FigureInputs) -> dict[str, float]:
        """Share of each category among the training samples."""
        require_known(self.partition, list(inputs.num_experts), "partition")
        if self.of == "cluster":
            sizes = inputs.cluster_sizes(self.partition)
            names = [str(k) for k in range(len(sizes))]
        else:
            found = cluster_members.sample_labels(inputs.index[inputs.index["split"] == "train"])
            sizes, names = np.bincount(found.codes), found.names
        kept = np.sort(np.argsort(-sizes, kind="stable")[:MOST])
        return {names[i]: sizes[i] / sizes.sum() for i in kept}


def _table(truth: dict[str, float], measured: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The metrics' rows, each beside the share in the data."""
    parts = [found.assign(truth=truth[c], category=c) for c, found in measured.items()]
    return pd.concat(parts, ignore_index=True)
