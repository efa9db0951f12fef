"""A table of one metric by partition and policy.

The rows are partitions with at least two clusters, in the order of the config. The last row is the
monolith, whose value does not depend on the policy.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import best_arms, metric_labels, partition_arms, style, text_tables
from routing.figures.shared.config_view import display_name, require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.partition_facts import (
    QUANTITIES,
    has_several_clusters,
    partition_facts,
    quantity_text,
)
from routing.figures.shared.style import Drawing
from routing.figures.shared.value_cells import value_cell, value_text

COLUMNS = ("size_ratio_train", "nmi")  # quantities of the report beside the metric


@dataclass(frozen=True)
class PartitionTable:
    """One metric by partition and policy, with cluster sizes; bold: better than each other
    partition with the policy (the paired 95 % interval excludes zero)."""

    metric: str
    sampler: str
    partitions: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    router: str | None = None
    guidance: str | None = None

    needs: ClassVar[tuple[str, ...]] = ("metrics", "comparisons", "reports")
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """Each cell has the value and half of its 95 % interval."""
        table = self._table(inputs)
        texts = {kind: self._text(inputs, table, kind) for kind in self.formats}
        return Drawing(table, texts=texts)

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """The metric's rows with is_best (per policy), cluster sizes and COLUMNS of the report."""
        require_known(self.sampler, list(inputs.samplers), "sampler")
        table = partition_arms.metric_rows(inputs, self, self._families(inputs))
        is_monolith = table["is_monolith"]
        table["family"] = table["family"].where(is_monolith, "")
        table["is_best"] = False
        for _, rows in table[~is_monolith].groupby("policy"):
            table.loc[rows.index, "is_best"] = best_arms.is_best(inputs, self.metric, rows)
        partitions = dict.fromkeys(table["partition"])
        found = {p: partition_facts(inputs.partition_report(p)) for p in partitions}
        for key in ("smallest", "largest", *COLUMNS):
            table[key] = [found[p].get(key, np.nan) for p in table["partition"]]
        return table

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return the arms of the partitions."""
        return partition_arms.asked_arms(inputs, self, self._families(inputs))

    def _families(self, inputs: FigureInputs) -> partition_arms.Families:
        """Return {partition: [partition]} of `partitions`, by default of all with clusters."""
        own = [arm for arm in inputs.arms.values() if arm["sampler"] == self.sampler]
        used = {arm["partition"] for arm in own if arm.get("guidance") == self.guidance}
        chosen = self.partitions or [
            p for p in inputs.partitions if p in used and has_several_clusters(inputs, p)
        ]
        return {p: [p] for p in chosen}

    def _text(self, inputs: FigureInputs, table: pd.DataFrame, kind: str) -> str:
        names = partition_arms.policies_in(inputs, self, table)
        is_monolith = table["is_monolith"]
        rows, last = table[~is_monolith], table[is_monolith]
        lines = [_line(own, names) for _, own in rows.groupby("partition", sort=False)]
        for _, row in last.iterrows():
            blank = [text_tables.DASH] * (1 + len(COLUMNS))
            lines.append([partition_arms.MONOLITH, "1", *blank, *[value_text(row)] * len(names)])
        quantities = [QUANTITIES[key] for key in COLUMNS]
        heads = ["partition", "K", "sizes", *quantities, *map(display_name, names)]
        if kind == "tex":
            return text_tables.latex_table(heads, lines, 1, len(last))
        note = (
            f"{metric_labels.label_with_direction(self.metric)} ({display_name(self.sampler)}); "
            "± is half of a 95 % interval; bold: better than each other partition with the policy "
            "(the paired interval excludes zero)."
        )
        table_text = text_tables.markdown_table(heads, lines, 1)
        return f"{table_text}\n{text_tables.escape_markdown(note)}\n"


def _line(own: pd.DataFrame, policies: list[str]) -> list[str]:
    """Return the cells of one partition, whose rows are `own`."""
    first, by_policy, dash = own.iloc[0], own.set_index("policy"), text_tables.DASH
    cells = [value_cell(by_policy, policy) for policy in policies]
    quantities = [quantity_text(first[key], dash) for key in COLUMNS]
    sizes = _size_range(first["smallest"], first["largest"], dash)
    return [
        display_name(first["partition"]),
        str(first["num_experts"]),
        sizes,
        *quantities,
        *cells,
    ]


def _size_range(low: float, high: float, dash: str) -> str:
    return dash if np.isnan(low) else f"{low:,.0f}–{high:,.0f}"
