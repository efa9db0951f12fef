"""A table of the cluster sizes and clustering quality of every partition."""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from routing.figures.shared import style, text_tables
from routing.figures.shared.config_view import display_name, require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.partition_facts import (
    QUANTITIES,
    has_several_clusters,
    partition_facts,
    quantity_text,
)
from routing.figures.shared.style import Drawing


@dataclass(frozen=True)
class PartitionReport:
    """Cluster sizes, distances within and between clusters, and agreement with labels.

    The rows are `partitions`, or all with at least two clusters in the order of the config.
    """

    partitions: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("reports",)
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """Quantities that are in no report have no column."""
        for name in self.partitions:
            require_known(name, list(inputs.partitions), "partitions")
        chosen = self.partitions or [
            p for p in inputs.partitions if has_several_clusters(inputs, p)
        ]
        if not chosen:
            raise ValueError(
                "partition_report: wanted partitions with more than one cluster, got none; add one"
            )
        rows = [
            {"partition": p, "num_experts": inputs.num_experts[p]}
            | partition_facts(inputs.partition_report(p))
            for p in chosen
        ]
        table = pd.DataFrame(rows)
        return Drawing(table, texts={kind: _text(table, kind) for kind in self.formats})


def _text(table: pd.DataFrame, kind: str) -> str:
    dash = text_tables.DASH
    kept = [key for key in QUANTITIES if key in table and table[key].notna().any()]
    heads = ["partition", "K", "sizes: min", "median", "max", *(QUANTITIES[key] for key in kept)]
    lines = [
        [
            display_name(row["partition"]),
            str(row["num_experts"]),
            *(f"{row[key]:,.0f}" for key in ("smallest", "median", "largest")),
            *(quantity_text(row[key], dash) for key in kept),
        ]
        for _, row in table.iterrows()
    ]
    if kind == "tex":
        return text_tables.latex_table(heads, lines, 1, 0)
    note = (
        "\nOf the training images. within: mean squared distance of an image to its centroid; "
        "between: mean distance of two centroids.\n"
    )
    return text_tables.markdown_table(heads, lines, 1) + note
