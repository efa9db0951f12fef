"""Images of each cluster of a partition, near to its centroid and further away.

A row is a cluster. On the left are the training images with the smallest distance to the centroid.
On the right are as many of the others, evenly spaced in the order of their distances up to the
largest. The left shows what is typical of a cluster, the right what else it contains. No image is
selected at random.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import cluster_members, image_grids, page_layout, style
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

KINDS = {"nearest": "nearest to the centroid", "spread": "evenly spaced, up to the farthest"}
NUM_LABELS, WIDTH, LINES = 4, 28, 2  # labels beside a row; letters per line, lines
TEXT = 1.45  # width of the text beside a row, in
MIN_HEIGHT, MAX_HEIGHT = 0.56, 0.9  # of a row, in


@dataclass(frozen=True)
class ContactSheet:
    """Images near to and far from each centroid, with size and most frequent labels."""

    partition: str
    num_images: int = 6

    needs: ClassVar[tuple[str, ...]] = ("data", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    def __post_init__(self):
        """Validate the options."""
        if self.num_images < 1:
            raise ValueError(
                f"contact_sheet: wanted num_images >= 1, got {self.num_images}; raise it"
            )

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw one row per cluster."""
        require_known(self.partition, list(inputs.num_experts), "partition")
        found = cluster_members.training_members(inputs, self.partition)
        labels = cluster_members.sample_labels(inputs.index)
        table = self._table(inputs, found, labels)
        shown = inputs.images(table["row"].to_numpy())
        tiles = image_grids.stored_integers(shown, inputs.levels, "contact_sheet")
        side = (style.PAGE - TEXT) / (2 * self.num_images)
        height = min(MAX_HEIGHT, max(MIN_HEIGHT, side * tiles.shape[2] / tiles.shape[3] + 0.05))
        figure = page_layout.new_figure(style.PAGE, height * len(found) + 0.2)
        figure.get_layout_engine().set(wspace=0.02)
        axes = figure.subplots(len(found), 2, squeeze=False)
        counts = cluster_members.label_counts(labels, found, 0, NUM_LABELS)
        for k, rows in enumerate(found):
            own = counts[counts["cluster"] == k]
            frequent = cluster_members.common_label_lines(own, NUM_LABELS, WIDTH)[:LINES]
            share = table.loc[table["cluster"] == k, "share"].iloc[0]
            size = f"{len(rows):,} images, {100 * share:.1f} %"
            image_grids.label_row(axes[k, 0], "\n".join([f"cluster {k}", size, *frequent]))
            for ax, kind in zip(axes[k], KINDS, strict=True):
                own = ((table["cluster"] == k) & (table["kind"] == kind)).to_numpy()
                ax.set_axis_off()
                ax.set_anchor("W")  # the text is on this side
                if own.any():  # a small cluster may have nearest images only
                    paper = image_grids.image_grid(tiles[own], self.num_images, inputs.levels)
                    image_grids.show_grid(ax, paper)
        for ax, text in zip(axes[0], KINDS.values(), strict=True):
            ax.set_title(text)
        return Drawing(table, figure)

    def _table(
        self, inputs: FigureInputs, found: list[np.ndarray], labels: cluster_members.SampleLabels
    ) -> pd.DataFrame:
        """Return cluster, size, share, kind, rank, row (in the index), distance and label."""
        assigned = inputs.assignments(self.partition)
        num_train = int((inputs.index["split"] == "train").sum())
        parts = []
        for k, rows in enumerate(found):
            distance = assigned[f"distance_{k}"].to_numpy()[rows]
            order = np.argsort(distance, kind="stable")
            ranks = near_and_far(len(rows), self.num_images)
            for kind, own in zip(KINDS, (order[r] for r in ranks), strict=True):
                of = {"cluster": k, "size": len(rows), "share": len(rows) / num_train}
                of |= {"kind": kind, "rank": range(len(own)), "row": rows[own]}
                names = [labels.names[code] for code in labels.codes[rows[own]]]
                parts.append(pd.DataFrame(of | {"distance": distance[own], "label": names}))
        return pd.concat(parts, ignore_index=True)


def near_and_far(num: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first `wanted` of `num` ranks, and as many of the others, evenly spaced."""
    near = np.arange(min(wanted, num))
    rest = num - len(near)
    far = len(near) + np.arange(1, min(wanted, rest) + 1) * rest // max(1, min(wanted, rest)) - 1
    return near, far
