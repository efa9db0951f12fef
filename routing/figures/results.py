"""All arms in one table, for a README (Markdown) and for a paper (LaTeX, booktabs)."""

import re
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from routing.figures import arms, style, words
from routing.figures.inputs import Inputs, known
from routing.figures.quality import HELDOUT
from routing.figures.style import Drawing

COSTS = {  # column: head, digits after the point
    "expert_evaluations": ("expert evals", 1),
    "router_evaluations": ("router evals", 1),
    "mflop": ("MFLOP", 1),
}


@dataclass(frozen=True)
class Results:
    """Every arm: what it is, what it costs per sample, and its metrics with 95 % intervals.

    `metrics` names the columns; without, all but the single shares. The best arm is in bold.
    """

    metrics: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "bills")
    formats: ClassVar[tuple[str, ...]] = style.TEXTS

    def draw(self, inputs: Inputs) -> Drawing:
        """The rows in the order of the config; the last is the held-out images."""
        valid = list(dict.fromkeys(inputs.metrics["metric"]))
        for metric in self.metrics:
            known(metric, valid, "metrics")
        chosen = list(self.metrics or (m for m in valid if words.direction(m)))
        table = self._table(inputs, chosen)
        return Drawing(table, texts={"md": _markdown(table), "tex": _latex(table)})

    def _table(self, inputs: Inputs, metrics: list[str]) -> pd.DataFrame:
        """A row per arm and metric, not rounded; costs are per sample."""
        names = inputs.chosen(self.arms)
        facts = pd.DataFrame([_facts(inputs, arm) for arm in names])
        shown = [*names, HELDOUT]
        found = inputs.metrics[
            inputs.metrics["metric"].isin(metrics) & inputs.metrics["arm"].isin(shown)
        ]
        rank = {name: i for i, name in enumerate([*shown, *metrics])}
        found = found.sort_values(["arm", "metric"], key=lambda names: names.map(rank))
        table = found.merge(facts, on="arm", how="left")
        table["half_width"] = (table["hi"] - table["lo"]) / 2
        table["is_best"] = False
        for metric, rows in table[table["arm"] != HELDOUT].groupby("metric"):
            table.loc[rows.index, "is_best"] = _is_best(metric, rows["value"])
        return table


def _facts(inputs: Inputs, arm: str) -> dict:
    """What the arm is and what one sample of it costs."""
    of, bill = inputs.arms[arm], inputs.bill(arm).set_index("part")
    return {
        "arm": arm,
        **{key: of[key] for key in ("partition", "router", "policy", "sampler")},
        "expert_evaluations": bill.loc["total", "evaluations"],
        "router_evaluations": bill.loc["router", "evaluations"],
        "mflop": bill.loc["total", "flop"] / 1e6,
    }


def _is_best(metric: str, values: pd.Series) -> pd.Series:
    sign = words.direction(metric)
    return sign * values == (sign * values).max() if sign else pd.Series(False, values.index)


def _cells(table: pd.DataFrame, bold: str, dash: str) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of text; `bold` has a place for the text of a best value."""
    metrics = list(dict.fromkeys(table["metric"]))
    heads = ["arm", "partition", "router", "policy", "sampler"]
    costs = [key for key in COSTS if table[key].any()]  # a closed form has no FLOP
    heads += [COSTS[key][0] for key in costs] + [_head(m) for m in metrics]
    lines = []
    for arm, rows in table.groupby("arm", sort=False):
        first, by_metric = rows.iloc[0], rows.set_index("metric")
        if arm == HELDOUT:
            line = [f"held-out data (n = {first['num_samples']:,})", *[dash] * (4 + len(costs))]
        else:
            line = [arms.label(arm)]
            line += [arms.label(first[key]) for key in heads[1:5]]
            line += [_cost(first[key], COSTS[key][1]) for key in costs]
        for metric in metrics:
            row = by_metric.loc[metric]
            text = words.rounded(row["value"], row["half_width"])
            line.append(bold.format(text) if row["is_best"] else text)
        lines.append(line)
    return heads, lines


def _head(metric: str) -> str:
    """The metric's own name and an arrow to the better side."""
    arrow = {1: " ↑", -1: " ↓", 0: ""}[words.direction(metric)]
    return arms.label(metric) + arrow


def _cost(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".removesuffix("." + "0" * digits)


def _markdown(table: pd.DataFrame) -> str:
    heads, lines = _cells(table, "**{}**", "–")
    rule = ["---"] * 5 + ["--:"] * (len(heads) - 5)
    text = "\n".join(f"| {' | '.join(line)} |" for line in [heads, rule, *lines])
    return text + "\n\nPer sample; ± is half of a 95 % interval; the best arm is in bold.\n"


def _latex(table: pd.DataFrame) -> str:
    """A booktabs tabular; needs \\usepackage{booktabs}."""
    heads, lines = _cells(table, r"\textbf{{{}}}", "--")
    body = [" & ".join(map(_tex, line)) + r" \\" for line in [heads, *lines]]
    is_real = table["arm"].iloc[-1] == HELDOUT
    if is_real:
        body.insert(len(body) - 1, r"\midrule")
    rows = [r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule"]
    start = r"\begin{tabular}{lllll" + "r" * (len(heads) - 5) + "}"
    return "\n".join([start, *rows, r"\end{tabular}", ""])


def _tex(text: str) -> str:
    """Text for LaTeX: a bold interval is bold in text, its sign in mathematics."""
    symbols = {"±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "%": r"\%", "_": r"\_"}
    for symbol, command in symbols.items():
        text = text.replace(symbol, command)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text)
