"""A table of all arms with their costs and metrics, in Markdown and LaTeX (booktabs)."""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from routing.figures.shared import arm_selection, best_arms, metric_labels, style, text_tables
from routing.figures.shared.config_view import display_name, require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing
from routing.figures.shared.value_cells import value_cell

FACTS = ("partition", "router", "policy", "sampler", "guidance")
COSTS = {  # column: heading, decimals
    "expert_evaluations": ("expert evaluations", 1),
    "router_evaluations": ("router evaluations", 1),
    "mflop": ("MFLOP", 1),
}


@dataclass(frozen=True)
class Results:
    """The parts of every arm, its costs per sample, and its metrics with 95 % intervals.

    `metrics` selects the columns. By default they are all metrics that have a better direction
    and are not of a single class or cluster. An arm is bold if it is better than each other arm:
    the paired 95 % interval of the difference excludes zero.
    """

    metrics: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "costs", "comparisons")
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """Rows in the order of the config; the last row is the held-out data."""
        valid = list(dict.fromkeys(inputs.metrics["metric"]))
        for metric in self.metrics:
            require_known(metric, valid, "metrics")
        table = self._table(inputs, list(self.metrics) or _default_metrics(inputs.metrics))
        return Drawing(table, texts={"md": _markdown(table), "tex": _latex(table)})

    def _table(self, inputs: FigureInputs, metrics: list[str]) -> pd.DataFrame:
        """A row per arm and metric with unrounded values; costs are per sample."""
        names = inputs.selected_arms(self.arms)
        facts = pd.DataFrame([_facts(inputs, arm) for arm in names])
        shown = [*names, arm_selection.HELDOUT]
        found = inputs.metrics[
            inputs.metrics["metric"].isin(metrics) & inputs.metrics["arm"].isin(shown)
        ]
        rank = {name: i for i, name in enumerate([*shown, *metrics])}
        found = found.sort_values(["arm", "metric"], key=lambda names: names.map(rank))
        table = found.merge(facts, on="arm", how="left")
        table["half_width"] = (table["hi"] - table["lo"]) / 2
        table["is_best"] = False
        for metric, rows in table[table["arm"] != arm_selection.HELDOUT].groupby("metric"):
            table.loc[rows.index, "is_best"] = best_arms.is_best(inputs, metric, rows)
        return table


def _default_metrics(table: pd.DataFrame) -> list[str]:
    """Return the metrics of arms that have a better direction and are not per class or cluster."""
    of_arms = table["metric"][table["arm"] != arm_selection.HELDOUT]
    return [
        metric
        for metric in dict.fromkeys(table["metric"])
        if metric_labels.direction(metric)
        and not metric_labels.is_per_category(metric)
        and metric in set(of_arms)
    ]


def _facts(inputs: FigureInputs, arm: str) -> dict:
    """Return the parts of the arm and the costs of one sample."""
    of, cost = inputs.arms[arm], inputs.cost(arm).set_index("component")
    return {
        "arm": arm,
        **{key: of.get(key) or "" for key in FACTS},
        "expert_evaluations": cost.loc["total", "evaluations"],
        "router_evaluations": cost.loc["router", "evaluations"],
        "mflop": cost.loc["total", "flop"] / 1e6,
    }


def _cells(table: pd.DataFrame) -> tuple[list[str], list[list[str]], int]:
    """Return headings, lines of text, and the number of text columns."""
    metrics, dash = list(dict.fromkeys(table["metric"])), text_tables.DASH
    facts = [key for key in FACTS if table[key].fillna("").any()]  # guidance, if any arm has one
    costs = [key for key in COSTS if table[key].any()]  # exact worlds count no FLOP
    heads = ["arm", *facts] + [COSTS[key][0] for key in costs] + [_head(m) for m in metrics]
    lines = []
    for arm, rows in table.groupby("arm", sort=False):
        first, by_metric = rows.iloc[0], rows.set_index("metric", drop=False)
        if arm == arm_selection.HELDOUT:
            line = [f"held-out data (n = {first['num_samples']:,})"]
            line += [dash] * len([*facts, *costs])
        else:
            line = [display_name(arm)]
            line += [display_name(first[key]) or dash for key in facts]
            line += [_cost(first[key], COSTS[key][1]) for key in costs]
        lines.append(line + [value_cell(by_metric, metric) for metric in metrics])
    return heads, lines, 1 + len(facts)


def _head(metric: str) -> str:
    """Return the name of the metric and an arrow, up if higher is better."""
    arrow = {1: " ↑", -1: " ↓", 0: ""}[metric_labels.direction(metric)]
    return display_name(metric) + arrow


def _cost(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".removesuffix("." + "0" * digits)


def _markdown(table: pd.DataFrame) -> str:
    note = (
        "\nCosts are per sample; ± is half of a 95 % interval; bold: better than each other arm "
        "(the paired 95 % interval excludes zero).\n"
    )
    return text_tables.markdown_table(*_cells(table)) + note


def _latex(table: pd.DataFrame) -> str:
    return text_tables.latex_table(
        *_cells(table), int(table["arm"].iloc[-1] == arm_selection.HELDOUT)
    )
