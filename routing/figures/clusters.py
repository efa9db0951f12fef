"""Training images, size and labels of each cluster of a partition.

If there are few labels, and short ones, each cluster has a bar with the shares of all labels.
Otherwise the bar has the most frequent labels of the cluster, and their names are above it. If
clusters overlap, an image is in all of its clusters.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import cluster_members, image_grids, page_layout, style
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import drawn_text, figure_text
from routing.figures.shared.style import Drawing

TONES = ("#C9D7E8", "#F3E2C0")  # alternating colours of a bar, light enough for text
MAX_LABELS, NUM_TOP = 12, 5  # labels in all bars; if there are more, the top of each cluster
MAX_LETTERS, WIDTH = 8, 56  # letters of a label in a bar; of the line above it


@dataclass(frozen=True)
class Clusters:
    """Evenly spaced training images of each cluster, and a bar with the shares of its labels."""

    partition: str
    num_images: int = 32

    needs: ClassVar[tuple[str, ...]] = ("data", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
        if self.num_images < 1:
            raise ValueError(f"clusters: wanted num_images >= 1, got {self.num_images}; raise it")

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw one row per cluster."""
        require_known(self.partition, list(inputs.num_experts), "partition")
        clusters = cluster_members.training_members(inputs, self.partition)
        labels = cluster_members.sample_labels(inputs.index)
        counts = cluster_members.label_counts(labels, clusters, MAX_LABELS, NUM_TOP)
        num, num_train = len(clusters), int((inputs.index["split"] == "train").sum())
        figure = page_layout.new_figure(style.PAGE, 0.52 * num + 0.35)
        axes = figure.subplots(num, 2, squeeze=False, width_ratios=(3, 2))
        per_row = max(1, -(-self.num_images // 2))
        is_above = not _fit_into_bars(counts)
        for k, rows in enumerate(clusters):
            shown = inputs.images(image_grids.evenly_spaced(self.num_images, rows))
            tiles = image_grids.stored_integers(shown, inputs.levels, "clusters")
            grid = image_grids.image_grid(tiles, per_row, inputs.levels)
            image_grids.show_grid(axes[k, 0], grid)
            share = 100 * len(rows) / num_train
            image_grids.label_row(axes[k, 0], f"cluster {k}\n{len(rows):,} images\n{share:.1f} %")
            own = counts[counts["cluster"] == k]
            _bar(axes[k, 1], own, is_last=k == num - 1)
            if is_above:
                (line, *_) = cluster_members.common_label_lines(own, NUM_TOP, WIDTH)
                axes[k, 1].text(0, 0.62, line, ha="left", va="bottom", fontsize=6.5)
            else:
                _write_into_bar(axes[k, 1], own)
        return Drawing(counts, figure)


def _fit_into_bars(counts: pd.DataFrame) -> bool:
    """Return whether the labels are few and short enough to be written into the bars."""
    names = set(map(drawn_text, counts["label"]))
    is_short = max(map(len, names)) <= MAX_LETTERS
    return is_short and len(names) <= MAX_LABELS and not counts["is_rest"].any()


def _bar(axes: Any, counts: pd.DataFrame, is_last: bool) -> None:
    """Draw the stacked bar of one cluster."""
    left = 0.0
    for i, row in enumerate(counts.itertuples()):
        tone = style.BAND if row.is_rest else TONES[i % 2]
        axes.barh(0, row.share, left=left, color=tone, edgecolor="white", linewidth=0.5)
        left += row.share
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.55, 0.55)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(is_last)
    axes.tick_params(bottom=is_last, labelbottom=is_last)
    if is_last:
        axes.set_xlabel("share of the cluster's images by label")


def _write_into_bar(axes: Any, counts: pd.DataFrame) -> None:
    """Write labels into the parts of a bar that are wide enough."""
    left = counts["share"].cumsum() - counts["share"]
    for row, start in zip(counts.itertuples(), left, strict=True):
        if row.share > 0.022 * len(drawn_text(row.label)) + 0.005:
            text = figure_text(row.label)
            axes.text(start + row.share / 2, 0, text, ha="center", va="center", fontsize=7)
