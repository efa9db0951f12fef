"""Shares of clusters or classes among the samples of every arm and the training images."""

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
from routing.figures.shared.figure_text import figure_text
from routing.figures.shared.intervals import draw_intervals
from routing.figures.shared.style import Drawing

MAX_COLUMNS = 10  # panels side by side
MAX_PANELS = 30  # the most frequent classes are drawn


@dataclass(frozen=True)
class Shares:
    """A panel per cluster or class: its share of each arm's samples and of the training images.

    `partition` must be `metrics.shares_partition`, whose clusters the metrics count.
    """

    partition: str
    of: Literal["cluster", "class"] = "cluster"
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "data", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A row per arm, in the order of the config; a vertical line at the training share."""
        from matplotlib.ticker import MaxNLocator

        truth = self._training_shares(inputs)
        names = inputs.selected_arms(self.arms)
        measured = {
            c: inputs.metric_rows(f"{self.of}_share_{c}", inputs.metrics).loc[names] for c in truth
        }
        layout = dot_plot_rows.grouped_rows(inputs, names, dict.fromkeys(names, 0.0), 0)
        columns = page_layout.balanced_columns(len(truth), MAX_COLUMNS)
        width = style.PAGE if columns > 2 else style.COLUMN
        figure, axes = page_layout.panel_grid(
            len(truth), columns, width, layout.height + 0.62, sharex=True
        )
        for i, (ax, (category, share)) in enumerate(zip(axes, truth.items(), strict=True)):
            ax.axvline(share, color="black", linewidth=0.8, zorder=1)
            for row in metric_labels.clip_intervals(measured[category]).itertuples():
                points = arm_styles.arm_style(inputs, row.arm).marker_kwargs() | {"markersize": 3}
                draw_intervals(ax, row, y=layout.of_arm[row.arm], elinewidth=0.9, **points)
            layout.draw_frame(ax, labelled=i % columns == 0)
            ax.set_title(figure_text(f"{self.of} {category}"))
            ax.tick_params(labelbottom=i >= len(truth) - columns)
            ax.grid(axis="x", zorder=0)
        ends = [metric_labels.clip_intervals(found)["hi"].max() for found in measured.values()]
        highest = max([*truth.values(), *ends])
        axes[0].set_xlim(-0.04 * highest, 1.04 * highest)
        nice = MaxNLocator(2 if columns > 5 else 4, steps=[1, 2, 2.5, 5, 10])
        axes[0].xaxis.set_major_locator(nice)
        axes[0].xaxis.set_major_formatter("{x:g}")
        figure.supxlabel(
            "share of the samples (95 % interval); line: share of the training images"
        )
        return Drawing(_table(truth, measured), figure)

    def _training_shares(self, inputs: FigureInputs) -> dict[str, float]:
        """Return the share of each category among the training images."""
        require_known(self.partition, list(inputs.num_experts), "partition")
        if self.of == "cluster":
            sizes = inputs.cluster_sizes(self.partition)
            names = [str(k) for k in range(len(sizes))]
        else:
            found = cluster_members.sample_labels(inputs.index[inputs.index["split"] == "train"])
            sizes, names = np.bincount(found.codes), found.names
        kept = np.sort(np.argsort(-sizes, kind="stable")[:MAX_PANELS])
        return {names[i]: sizes[i] / sizes.sum() for i in kept}


def _table(truth: dict[str, float], measured: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The metrics' rows with category and truth, the share of the training images."""
    parts = [found.assign(truth=truth[c], category=c) for c, found in measured.items()]
    return pd.concat(parts, ignore_index=True)
