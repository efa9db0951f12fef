"""A table of one metric by router and policy, where arms differ in these two only.

A row is a router, a column a policy, a cell the arm that has both, under one partition, sampler
and guidance. A cell without an arm has a dash.
"""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from routing.figures.shared import arm_selection, metric_labels, style, text_tables
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.router_policy_cells import cell_rows
from routing.figures.shared.style import Drawing
from routing.figures.shared.value_cells import value_cell, value_text


@dataclass(frozen=True)
class RouterTable:
    """Value and half of its 95 % interval by router and policy; bold: better than each other
    arm (the paired 95 % interval excludes zero).

    The last row is the number of expert evaluations per sample, as a range over the routers. The
    caption has the metric of the monolith and of held-out data.
    """

    metric: str
    partition: str
    sampler: str
    guidance: str | None = None
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "costs", "comparisons")
    formats: ClassVar[tuple[str, ...]] = style.TEXT_FORMATS

    def draw(self, inputs: FigureInputs) -> Drawing:
        """Routers and policies in the order of the config."""
        table = cell_rows(inputs, self)
        costs = [inputs.cost(arm).set_index("component") for arm in table["arm"]]
        table["expert_evaluations"] = [cost.loc["total", "evaluations"] for cost in costs]
        texts = {kind: self._text(inputs, table, kind) for kind in self.formats}
        return Drawing(table, texts=texts)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return the arms with this partition, sampler and guidance."""
        return list(
            arm_selection.arms_by_router_and_policy(
                inputs, (), self.partition, self.sampler, self.guidance
            ).values()
        )

    def _text(self, inputs: FigureInputs, table: pd.DataFrame, kind: str) -> str:
        policies = list(dict.fromkeys(table["policy"]))
        cells = table.set_index(["router", "policy"])
        lines = [
            [display_name(router), *(value_cell(cells, (router, p)) for p in policies)]
            for router in dict.fromkeys(table["router"])
        ]
        cost = table.groupby("policy")["expert_evaluations"].agg(["min", "max"])
        last = ["expert evaluations", *(_range(*cost.loc[policy]) for policy in policies)]
        heads = ["router", *map(display_name, policies)]
        if kind == "tex":
            return text_tables.latex_table(heads, [*lines, last], 1, 1)
        text = text_tables.markdown_table(heads, [*lines, last], 1)
        caption = text_tables.escape_markdown(self._caption(inputs, table))
        return f"{text}\n{caption}\n"

    def _caption(self, inputs: FigureInputs, table: pd.DataFrame) -> str:
        found = inputs.metric_rows(self.metric, inputs.metrics)
        monolith = arm_selection.matching_monolith(inputs, table["arm"].iloc[0], list(inputs.arms))
        names = {monolith: "the monolith", arm_selection.HELDOUT: "held-out data"}
        others = [f"{n}: {value_text(found.loc[a])}" for a, n in names.items() if a in found.index]
        setting = [display_name(self.partition), display_name(self.sampler)]
        setting += [display_name(self.guidance)] if self.guidance else []
        return (
            f"{metric_labels.label_with_direction(self.metric)} ({', '.join(setting)}); ± is half "
            f"of a 95 % interval; bold: better than each other arm (the paired interval excludes "
            f"zero). {'; '.join(others).capitalize()}"
        )


def _range(low: float, high: float) -> str:
    """Return a range of costs, or one number if both are equal after rounding."""
    ends = dict.fromkeys(f"{cost:,.1f}".removesuffix(".0") for cost in (low, high))
    return "–".join(ends)
