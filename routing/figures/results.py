"""All arms in one table, for a README (Markdown) and for a paper (LaTeX, booktabs)."""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from routing.figures.shared import arm_selection, metric_labels, style, text_tables
from routing.figures.shared.config_view import display_name, require_known
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing

FACTS = ("partition", "router", "policy", "sampler", "guidance")
COSTS = {  # column: head, digits after the point
    "expert_evaluations": ("expert evals", 1),
    "router_evaluations": ("router evals", 1),
    "mflop": ("MFLOP", 1),
}


@dataclass(frozen=True)
class Results:
    """Every arm: what it is, what it costs per sample, and its metrics with 95 % intervals.

    `metrics` names the columns; without, all with a direction but those of one cluster. The best
    arm is in bold.
    """

    metrics: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "costs")
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """The rows in the order of the config; the last is the held-out images."""
        valid = list(dict.fromkeys(inputs.metrics["metric"]))
        for metric in self.metrics:
            require_known(metric, valid, "metrics")
        of_arms = set(inputs.metrics["metric"][inputs.metrics["arm"] != arm_selection.HELDOUT])
        chosen = list(
            self.metrics
            or (
                m
                for m in valid
                if metric_labels.direction(m)
                and not metric_labels.is_per_category(m)
                and m in of_arms
            )
        )
        table = self._table(inputs, chosen)
        return Drawing(table, texts={"md": _markdown(table), "tex": _latex(table)})

    def _table(self, inputs: FigureInputs, metrics: list[str]) -> pd.DataFrame:
        """A row per arm and metric, not rounded; costs are per sample."""
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
            table.loc[rows.index, "is_best"] = _is_best(metric, rows["value"])
        return table


def _facts(inputs: FigureInputs, arm: str) -> dict:
    """What the arm is and what one sample of it costs."""
    of, bill = inputs.arms[arm], inputs.cost(arm).set_index("component")
    return {
        "arm": arm,
        **{key: of.get(key) or "" for key in FACTS},
        "expert_evaluations": bill.loc["total", "evaluations"],
        "router_evaluations": bill.loc["router", "evaluations"],
        "mflop": bill.loc["total", "flop"] / 1e6,
    }


def _is_best(metric: str, values: pd.Series) -> pd.Series:
    sign = metric_labels.direction(metric)
    return sign * values == (sign * values).max() if sign else pd.Series(False, values.index)


def _cells(table: pd.DataFrame, kind: str) -> tuple[list[str], list[list[str]], int]:
    """Heads, lines of text of the format `kind`, and how many columns are words."""
    metrics, dash = list(dict.fromkeys(table["metric"])), text_tables.DASH[kind]
    facts = [key for key in FACTS if table[key].fillna("").any()]  # guidance, if any arm has one
    costs = [key for key in COSTS if table[key].any()]  # a closed form has no FLOP
    heads = ["arm", *facts] + [COSTS[key][0] for key in costs] + [_head(m) for m in metrics]
    lines = []
    for arm, rows in table.groupby("arm", sort=False):
        first, by_metric = rows.iloc[0], rows.set_index("metric")
        if arm == arm_selection.HELDOUT:
            line = [f"held-out data (n = {first['num_samples']:,})"]
            line += [dash] * len([*facts, *costs])
        else:
            line = [display_name(arm)]
            line += [display_name(first[key]) or dash for key in facts]
            line += [_cost(first[key], COSTS[key][1]) for key in costs]
        lines.append(line + [_value(by_metric, metric, kind) for metric in metrics])
    return heads, lines, 1 + len(facts)


def _value(by_metric: pd.DataFrame, metric: str, kind: str) -> str:
    """Value and half-width; a dash where there is none, as for agreement unasked."""
    if metric not in by_metric.index:
        return text_tables.DASH[kind]
    row = by_metric.loc[metric]
    text = metric_labels.format_value(row["value"], row["half_width"])
    return text_tables.BOLD[kind].format(text) if row["is_best"] else text


def _head(metric: str) -> str:
    """The metric's own name and an arrow to the better side."""
    arrow = {1: " ↑", -1: " ↓", 0: ""}[metric_labels.direction(metric)]
    return display_name(metric) + arrow


def _cost(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".removesuffix("." + "0" * digits)


def _markdown(table: pd.DataFrame) -> str:
    note = "\nPer sample; ± is half of a 95 % interval; the best arm is in bold.\n"
    return text_tables.markdown_table(*_cells(table, "md")) + note


def _latex(table: pd.DataFrame) -> str:
    return text_tables.latex_table(
        *_cells(table, "tex"), int(table["arm"].iloc[-1] == arm_selection.HELDOUT)
    )
