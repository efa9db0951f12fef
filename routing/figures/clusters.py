"""What each cluster of a partition holds: training images, size, and the labels among them.

Many labels, or long ones, do not fit into a bar: then each cluster has its own commonest ones in
its bar, and their names above it. Where clusters overlap, an image is in all of its clusters.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import cluster_members, image_grids, page_layout, style
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

TONES = ("#C9D7E8", "#F3E2C0")  # two light tones in turn: the label is written on them
MOST, OWN = 12, 5  # labels of a bar that all clusters share; of more, each cluster's own
LONGEST, WIDTH = 8, 56  # letters of a label within a bar, and above it


@dataclass(frozen=True)
class Clusters:
    """A strip of evenly spaced training images per cluster, and a bar of its labels."""

    partition: str
    num_images: int = 32

    needs: ClassVar[tuple[str, ...]] = ("data", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Refuse empty strips."""
        if self.num_images < 1:
            raise ValueError(f"clusters: wanted num_images >= 1, got {self.num_images}; raise it")

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A row per cluster."""
        require_known(self.partition, list(inputs.num_experts), "partition")
        clusters = cluster_members.training_members(inputs, self.partition)
        counts = cluster_members.label_counts(
            cluster_members.sample_labels(inputs.index), clusters, MOST, OWN
        )
        num, num_train = len(clusters), int((inputs.index["split"] == "train").sum())
        figure = page_layout.new_figure(style.PAGE, 0.52 * num + 0.35)
        axes = figure.subplots(num, 2, squeeze=False, width_ratios=(3, 2))
        per_row = max(1, -(-self.num_images // 2))
        is_long = not _fit(counts["label"].unique())
        for k, rows in enumerate(clusters):
            shown = inputs.images(image_grids.evenly_spaced(self.num_images, rows))
            tiles = image_grids.stored_integers(shown, inputs.levels, "clusters")
            image_grids.show_grid(
                axes[k, 0], image_grids.image_grid(tiles, per_row, inputs.levels)
            )
            share = 100 * len(rows) / num_train
            image_grids.label_row(axes[k, 0], f"cluster {k}\n{len(rows):,} images\n{share:.1f} %")
            own = counts[counts["cluster"] == k]
            _bar(axes[k, 1], own, is_last=k == num - 1)
            if is_long:
                (line, *_) = cluster_members.common_label_lines(own, OWN, WIDTH)
                axes[k, 1].text(0, 0.62, line, ha="left", va="bottom", fontsize=6.5)
            else:
                _within(axes[k, 1], own)
        return Drawing(counts, figure)


def _fit(labels: Iterable[str]) -> bool:
    """Whether these labels are few and short enough to be written into bars."""
    names = set(labels)
    return (
        len(names) <= MOST
        and max(map(len, names)) <= LONGEST
        and cluster_members.OTHER not in names
    )


def _bar(axes: Any, counts: pd.DataFrame, is_last: bool) -> None:
    """One stacked bar."""
    left = 0.0
    for i, row in enumerate(counts.itertuples()):
        tone = style.BAND if row.label == cluster_members.OTHER else TONES[i % 2]
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


def _within(axes: Any, counts: pd.DataFrame) -> None:
    """Labels within a bar, where there is room for them."""
    left = counts["share"].cumsum() - counts["share"]
    for row, start in zip(counts.itertuples(), left, strict=True):
        if row.share > 0.022 * len(row.label) + 0.005:
            axes.text(start + row.share / 2, 0, row.label, ha="center", va="center", fontsize=7)
