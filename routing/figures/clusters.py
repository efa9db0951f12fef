"""What each cluster of a partition holds: training images, size, and the labels among them."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures import pictures, style
from routing.figures.inputs import Inputs, known
from routing.figures.style import Drawing

TONES = ("#C9D7E8", "#F3E2C0")  # two light tones in turn: the label is written on them
MOST = 12  # labels named; the rest are one


@dataclass(frozen=True)
class Clusters:
    """A strip of evenly spaced training images per cluster, and a bar of its labels."""

    partition: str
    num_images: int = 32

    needs: ClassVar[tuple[str, ...]] = ("data", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.PICTURES

    def __post_init__(self):
        """Refuse empty strips."""
        if self.num_images < 1:
            raise ValueError(f"clusters: wanted num_images >= 1, got {self.num_images}; raise it")

    @style.styled
    def draw(self, inputs: Inputs) -> Drawing:
        """A row per cluster."""
        known(self.partition, list(inputs.num_experts), "partition")
        train = (inputs.index["split"] == "train").to_numpy()
        cluster = np.where(train, inputs.clusters(self.partition), -1)
        num = inputs.num_experts[self.partition]
        counts = label_counts(inputs.index["label"].to_numpy(), cluster, num)
        figure = style.canvas(style.PAGE, 0.52 * num + 0.35)
        axes = figure.subplots(num, 2, squeeze=False, width_ratios=(3, 2))
        per_row = max(1, -(-self.num_images // 2))
        for k in range(num):
            rows = pictures.evenly(self.num_images, np.flatnonzero(cluster == k))
            tiles = pictures.stored(inputs.real[rows], inputs.levels, "clusters")
            pictures.show(axes[k, 0], pictures.sheet(tiles, per_row, inputs.levels))
            own = counts[counts["cluster"] == k]
            size = int(own["images"].sum())
            _name(axes[k, 0], f"cluster {k}\n{size:,} images\n{100 * size / train.sum():.1f} %")
            _bar(axes[k, 1], own, is_last=k == num - 1)
        return Drawing(counts, figure)


def label_counts(labels: np.ndarray, cluster: np.ndarray, num: int) -> pd.DataFrame:
    """cluster, label, images, share of the cluster; the rarest labels together as 'other'.

    Samples of cluster -1 are not counted.
    """
    names, counts = np.unique(labels[cluster >= 0], return_counts=True)
    kept = np.sort(names[np.argsort(-counts, kind="stable")[:MOST]])
    text = np.where(np.isin(labels, kept), labels.astype(str), "other")
    order = [*map(str, kept), *(["other"] if len(names) > MOST else [])]
    parts = []
    for k in range(num):
        found = pd.Series(text[cluster == k]).value_counts().reindex(order, fill_value=0)
        part = pd.DataFrame({"cluster": k, "label": order, "images": found.to_numpy()})
        parts.append(part.assign(share=part["images"] / max(1, part["images"].sum())))
    return pd.concat(parts, ignore_index=True)


def _bar(axes: Any, counts: pd.DataFrame, is_last: bool) -> None:
    """One stacked bar; a label is written where there is room for it."""
    left = 0.0
    for i, row in enumerate(counts.itertuples()):
        axes.barh(0, row.share, left=left, color=TONES[i % 2], edgecolor="white", linewidth=0.5)
        if row.share > 0.022 * len(row.label) + 0.005:
            axes.text(left + row.share / 2, 0, row.label, ha="center", va="center", fontsize=7)
        left += row.share
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.55, 0.55)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(is_last)
    axes.tick_params(bottom=is_last, labelbottom=is_last)
    if is_last:
        axes.set_xlabel("share of the cluster's images by label")


def _name(axes: Any, text: str) -> None:
    """Text to the left of a strip."""
    axes.annotate(
        text, (0, 0.5), (-4, 0), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="center", linespacing=1.25,
    )  # fmt: skip
