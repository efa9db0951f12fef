"""Routers x policies: one metric where router and policy alone differ, as a table and as a map.

A row is a router, a column a policy, a cell the arm that has both, under one partition, sampler
and guidance. A dash, or an empty cell, is a pair that no arm has.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from routing.figures.shared import (
    arm_selection,
    heat_map,
    metric_labels,
    page_layout,
    style,
    text_tables,
)
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing


@dataclass(frozen=True)
class RouterTable:
    """Value and half of its 95 % interval in every cell; the best value is bold.

    Below: the expert evaluations per sample of each policy, from the cheapest to the dearest
    router, and the metric of the monolith and of held-out data.
    """

    metric: str
    partition: str
    sampler: str
    guidance: str | None = None
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "costs")
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """Routers and policies in the order of the config."""
        table = measured_cells(inputs, self)
        costs = [inputs.cost(arm).set_index("component") for arm in table["arm"]]
        table["expert_evaluations"] = [b.loc["total", "evaluations"] for b in costs]
        return Drawing(
            table, texts={kind: self._text(inputs, table, kind) for kind in self.formats}
        )

    def _text(self, inputs: FigureInputs, table: pd.DataFrame, kind: str) -> str:
        policies = list(dict.fromkeys(table["policy"]))
        of = table.set_index(["router", "policy"])
        lines = [
            [display_name(router), *(_cell(of, (router, policy), kind) for policy in policies)]
            for router in dict.fromkeys(table["router"])
        ]
        cost = table.groupby("policy")["expert_evaluations"].agg(["min", "max"])
        spans = [_span(*cost.loc[policy]) for policy in policies]
        last = ["expert evaluations", *spans]
        heads = ["router", *map(display_name, policies)]
        if kind == "tex":
            return text_tables.latex_table(heads, [*lines, last], 1, 1)
        return (
            text_tables.markdown_table(heads, [*lines, last], 1)
            + "\n"
            + self._caption(inputs, table)
        )

    def _caption(self, inputs: FigureInputs, table: pd.DataFrame) -> str:
        found = inputs.metric_rows(self.metric, inputs.metrics)
        peer = arm_selection.matching_monolith(inputs, table["arm"].iloc[0], list(inputs.arms))
        names = {peer: "the monolith", arm_selection.HELDOUT: "held-out data"}
        beside = [f"{n}: {_value(found.loc[a])}" for a, n in names.items() if a in found.index]
        told = [display_name(self.partition), display_name(self.sampler)]
        told += [display_name(self.guidance)] if self.guidance else []
        return (
            f"{metric_labels.axis_label(self.metric)} ({', '.join(told)}); ± is half of a 95 % interval, "
            f"the best is bold. {'; '.join(beside).capitalize()}\n"
        )


@dataclass(frozen=True)
class RouterMatrix:
    """The same as a map of numbers, in each cell ± half of its 95 % interval; dark is better."""

    metric: str
    partition: str
    sampler: str
    guidance: str | None = None
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Routers and policies in the order of the config; the best is framed."""
        table = measured_cells(inputs, self)
        names, policies = (list(dict.fromkeys(table[key])) for key in ("router", "policy"))
        shape = len(names), len(policies)
        width = min(style.PAGE, 1.2 + 0.72 * shape[1])
        told = list(map(display_name, names))
        label = page_layout.wrap_text(
            metric_labels.axis_label(self.metric), width - page_layout.text_width(told) - 0.1
        )
        figure = page_layout.new_figure(width, 0.47 + 0.3 * shape[0] + style.LINE * len(label))
        axes = figure.subplots()
        wide = table.pivot(index="router", columns="policy", values="value")
        value = wide.loc[names, policies].to_numpy()
        sign = metric_labels.direction(self.metric) or 1
        low, high = np.nanmin(sign * value), np.nanmax(sign * value)
        dark = (sign * value - low) / max(high - low, 1e-300)
        heat_map.draw_heat_map(axes, dark)
        of = table.set_index(["router", "policy"])
        for i, router in enumerate(names):
            for j, policy in enumerate(policies):
                if (router, policy) not in of.index:
                    continue
                row = of.loc[(router, policy)]
                number, half = _value(row).split(" ± ")
                ink = heat_map.text_colour(dark[i, j])
                axes.text(j, i, number, ha="center", va="bottom", color=ink)
                axes.text(j, i - 0.02, f"± {half}", ha="center", va="top", color=ink, fontsize=6.5)
                if row["is_best"]:
                    heat_map.outline_cell(axes, i, j)
        axes.set_xticks(range(shape[1]), map(display_name, policies))
        axes.set_yticks(range(shape[0]), told)
        axes.set_title("\n".join(label))
        return Drawing(table, figure)


def measured_cells(inputs: FigureInputs, of: Any) -> pd.DataFrame:
    """Rows of the metric of each cell, with router, policy, half_width and is_best."""
    found = inputs.metric_rows(of.metric, inputs.metrics)
    by_cell = arm_selection.arms_by_router_and_policy(
        inputs, of.arms, of.partition, of.sampler, of.guidance
    )
    kept = arm_selection.require_measured(of.metric, found, list(by_cell.values()))
    keys = {arm: key for key, arm in by_cell.items()}
    table = found.loc[kept].reset_index(drop=True)
    table.insert(0, "router", [keys[arm][0] for arm in kept])
    table.insert(1, "policy", [keys[arm][1] for arm in kept])
    orders = {"router": list(inputs.routers), "policy": list(inputs.policies)}
    table = table.sort_values(
        ["router", "policy"], key=lambda names: names.map(orders[names.name].index)
    ).reset_index(drop=True)
    table["half_width"] = (table["hi"] - table["lo"]) / 2
    sign = metric_labels.direction(of.metric)
    table["is_best"] = (sign * table["value"] == (sign * table["value"]).max()) & (sign != 0)
    return table


def _cell(of: pd.DataFrame, key: tuple[str, str], kind: str) -> str:
    if key not in of.index:
        return text_tables.DASH[kind]
    row = of.loc[key]
    return text_tables.BOLD[kind].format(_value(row)) if row["is_best"] else _value(row)


def _value(row: pd.Series) -> str:
    return metric_labels.format_value(row["value"], (row["hi"] - row["lo"]) / 2)


def _span(low: float, high: float) -> str:
    """A range of costs; one number where both are rounded alike."""
    ends = dict.fromkeys(f"{cost:,.1f}".removesuffix(".0") for cost in (low, high))
    return "–".join(ends)
