"""Partitions in tables: their quality under every policy, and what they are like.

Both have a row per partition with at least two clusters, in the order of the config.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import metric_labels, partition_arms, style, text_tables
from routing.figures.shared.config_view import display_name, require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

FACTS = {"size_ratio_train": "largest / smallest", "nmi": "NMI with labels"}  # of the report
QUANTITIES = {  # of the report, as a whole: head
    "size_ratio_train": "largest / smallest",
    "evenness_train": "entropy / log K",
    "silhouette": "silhouette",
    "within": "within",
    "between_mean": "between",
    "nmi": "NMI with labels",
    "purity": "purity",
}


@dataclass(frozen=True)
class PartitionTable:
    """One metric by partition and policy, beside the clusters' sizes; the best per policy is bold.

    The last row is the monolith, which is the same under every policy.
    """

    metric: str
    sampler: str
    partitions: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    router: str | None = None
    guidance: str | None = None

    needs: ClassVar[tuple[str, ...]] = ("metrics", "reports")
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """Value and half of its 95 % interval in every cell."""
        table = self._table(inputs)
        texts = {kind: self._text(inputs, table, kind) for kind in self.formats}
        return Drawing(table, texts=texts)

    def _table(self, inputs: FigureInputs) -> pd.DataFrame:
        """The metric's rows with is_best (per policy), sizes and the FACTS of the report."""
        require_known(self.sampler, list(inputs.samplers), "sampler")
        own = [arm for arm in inputs.arms.values() if arm["sampler"] == self.sampler]
        used = {arm["partition"] for arm in own if arm.get("guidance") == self.guidance}
        chosen = self.partitions or [
            p for p in inputs.partitions if p in used and several(inputs, p)
        ]
        table = partition_arms.metric_rows(inputs, self, {p: [p] for p in chosen})
        table["family"] = table["family"].where(table["family"] == partition_arms.MONOLITH, "")
        best = metric_labels.direction(self.metric) * table["value"]
        best = best.where(table["family"] != partition_arms.MONOLITH)
        top = best.groupby(table["policy"]).transform("max")
        table["is_best"] = (best == top) & (metric_labels.direction(self.metric) != 0)
        found = {p: facts(inputs.partition_report(p)) for p in dict.fromkeys(table["partition"])}
        for key in ("smallest", "largest", *FACTS):
            table[key] = [found[p].get(key, np.nan) for p in table["partition"]]
        return table

    def _text(self, inputs: FigureInputs, table: pd.DataFrame, kind: str) -> str:
        names = partition_arms.policies_in(inputs, self, table)
        is_monolith = table["family"] == partition_arms.MONOLITH
        rows, last = table[~is_monolith], table[is_monolith]
        lines = [self._line(own, names, kind) for _, own in rows.groupby("partition", sort=False)]
        for row in last.itertuples():
            value = metric_labels.format_value(row.value, row.half_width)
            blank = [text_tables.DASH[kind]] * (1 + len(FACTS))
            lines.append([partition_arms.MONOLITH, "1", *blank, *[value] * len(names)])
        heads = ["partition", "K", "sizes", *FACTS.values(), *map(display_name, names)]
        if kind == "tex":
            return text_tables.latex_table(heads, lines, 1, len(last))
        note = f"\n{metric_labels.axis_label(self.metric)} ({display_name(self.sampler)}); ± is half of a "
        return (
            text_tables.markdown_table(heads, lines, 1)
            + note
            + "95 % interval, the best is bold.\n"
        )

    def _line(self, own: pd.DataFrame, names: list[str], kind: str) -> list[str]:
        first, of = own.iloc[0], own.set_index("policy")
        sizes = span(first["smallest"], first["largest"], text_tables.DASH[kind])
        cells = []
        for name in names:
            text = text_tables.DASH[kind]
            if name in of.index:
                row = of.loc[name]
                text = metric_labels.format_value(row["value"], row["half_width"])
                text = text_tables.BOLD[kind].format(text) if row["is_best"] else text
            cells.append(text)
        told = [number(first[key], text_tables.DASH[kind]) for key in FACTS]
        return [display_name(first["partition"]), str(first["num_experts"]), sizes, *told, *cells]


@dataclass(frozen=True)
class PartitionReport:
    """What every partition is like: its clusters' sizes, how apart they are, their labels."""

    partitions: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("reports",)
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """A row per partition; a quantity that no report has is left out."""
        for name in self.partitions:
            require_known(name, list(inputs.partitions), "partitions")
        chosen = self.partitions or [p for p in inputs.partitions if several(inputs, p)]
        if not chosen:
            raise ValueError(
                "partition_report: wanted partitions with more than one cluster, got none; add one"
            )
        rows = [
            {"partition": p, "num_experts": inputs.num_experts[p]}
            | facts(inputs.partition_report(p))
            for p in chosen
        ]
        table = pd.DataFrame(rows)
        return Drawing(table, texts={kind: _report(table, kind) for kind in self.formats})


def several(inputs: FigureInputs, partition: str) -> bool:
    """Whether it has more than one cluster."""
    return inputs.num_experts[partition] > 1


def facts(report: pd.DataFrame) -> dict[str, float]:
    """smallest, median and largest size, and the QUANTITIES of the report."""
    sizes = report.loc[report["quantity"] == "size_train", "value"]  # of each cluster
    whole = partition_arms.partition_quantities(report)
    found = {"smallest": sizes.min(), "median": sizes.median(), "largest": sizes.max()}
    return found | {key: whole[key] for key in QUANTITIES if key in whole}


def span(low: float, high: float, dash: str) -> str:
    """Two sizes as a range."""
    return dash if np.isnan(low) else f"{low:,.0f}–{high:,.0f}"


def number(value: float, dash: str) -> str:
    """Three digits; a dash where there is none."""
    return dash if np.isnan(value) else metric_labels.format_value(value)


def _report(table: pd.DataFrame, kind: str) -> str:
    dash = text_tables.DASH[kind]
    kept = [key for key in QUANTITIES if key in table and table[key].notna().any()]
    heads = ["partition", "K", "sizes: min", "median", "max", *(QUANTITIES[key] for key in kept)]
    lines = [
        [
            display_name(row["partition"]),
            str(row["num_experts"]),
            *(f"{row[key]:,.0f}" for key in ("smallest", "median", "largest")),
            *(number(row[key], dash) for key in kept),
        ]
        for _, row in table.iterrows()
    ]
    if kind == "tex":
        return text_tables.latex_table(heads, lines, 1, 0)
    note = (
        "\nOf training images. within: mean squared distance to the own centroid; between: mean "
        "distance of two centroids.\n"
    )
    return text_tables.markdown_table(heads, lines, 1) + note
