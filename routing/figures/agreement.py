"""Agreement of every two partitions on the training images, and of each with the labels.

The measure is normalised mutual information or the adjusted Rand index (see
`routing.partitions.agreement`). Both are 1 for partitions that are equal up to the order of the
clusters. For random clusters the index is 0 on average; the information is a little larger, and
grows with the number of clusters. If clusters overlap, an image counts for the nearest one.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd

from routing.figures.shared import cluster_members, heat_map, page_layout, style
from routing.figures.shared.config_view import require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.style import Drawing
from routing.partitions.agreement import (
    adjusted_rand_index,
    contingency,
    normalised_mutual_information,
)

LABELS = "(labels)"  # no name of a partition, which has letters, digits and underscores
MEASURES = {  # function of the contingency table, label
    "nmi": (normalised_mutual_information, "normalised mutual information"),
    "ari": (adjusted_rand_index, "adjusted Rand index"),
}


@dataclass(frozen=True)
class Agreement:
    """Heat map of the agreement of partitions, and of the labels if all images have one."""

    partitions: tuple[str, ...] = ()
    measure: Literal["nmi", "ari"] = "nmi"

    needs: ClassVar[tuple[str, ...]] = ("data", "partitions")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Draw partitions in the order given, or of the config; the last row is the labels."""
        columns = self._columns(inputs)
        names, num = list(columns), len(columns)
        measure, title = MEASURES[self.measure]
        value = np.ones((num, num))
        rows = []
        for i in range(num):
            for j in range(i + 1):
                table = contingency(columns[names[i]], columns[names[j]])
                value[i, j] = value[j, i] = measure(table)
                rows.append([names[i], names[j], self.measure, value[i, j], int(table.sum())])
        cell = min(0.44, 5.0 / num)
        width = min(style.PAGE, max(2.4, 1.1 + cell * num))
        figure = page_layout.new_figure(width, 0.7 + 0.6 * cell * num)
        _map(figure.subplots(), names, value, title)
        keys = ["partition", "other", "measure", "value", "num_images"]
        return Drawing(pd.DataFrame(rows, columns=keys), figure)

    def _columns(self, inputs: FigureInputs) -> dict[str, np.ndarray]:
        """Return the clusters of the training images by partition, and their labels."""
        for name in self.partitions:
            require_known(name, list(inputs.partitions), "partitions")
        chosen = self.partitions or inputs.partitions
        train = (inputs.index["split"] == "train").to_numpy()
        found = {p: inputs.clusters(p)[train] for p in chosen if inputs.num_experts[p] > 1}
        labels = cluster_members.sample_labels(inputs.index[train])
        if not labels.is_partial and len(labels.names) > 1:
            found[LABELS] = labels.codes
        if len(found) < 2:
            raise ValueError(
                f"agreement: wanted two partitions with more than one cluster, or one and labels, "
                f"got {', '.join(found) or 'none'}; name others"
            )
        return found


def _map(axes: Any, names: list[str], value: np.ndarray, title: str) -> None:
    dark = np.clip(value, 0, 1)
    heat_map.draw_heat_map(axes, dark)
    for i, j in np.ndindex(*value.shape):
        ink = heat_map.text_colour(dark[i, j])
        text = f"{value[i, j]:z.2f}".replace("-", "−")
        axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=6.5)
    ticks = [figure_label(name) for name in names]
    axes.set_yticks(range(len(names)), ticks)
    axes.set_xticks(range(len(names)), ticks, rotation=90)
    axes.set_title(f"{title}, training images")
