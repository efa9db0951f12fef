"""A map of one metric by router and policy, where arms differ in these two only.

A row is a router, a column a policy, a cell the arm that has both, under one partition, sampler
and guidance. A cell without an arm is empty.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from routing.figures.shared import arm_selection, heat_map, metric_labels, page_layout, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label
from routing.figures.shared.router_policy_cells import cell_rows
from routing.figures.shared.style import Drawing
from routing.figures.shared.value_cells import is_unmeasurable, value_text


@dataclass(frozen=True)
class RouterMatrix:
    """Value ± half of its 95 % interval by router and policy; darker is better."""

    metric: str
    partition: str
    sampler: str
    guidance: str | None = None
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics", "comparisons")
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """Routers and policies in the order of the config; a frame: better than each other."""
        table = cell_rows(inputs, self)
        names, policies = (list(dict.fromkeys(table[key])) for key in ("router", "policy"))
        shape = len(names), len(policies)
        width = min(style.PAGE, 1.2 + 0.72 * shape[1])
        shown = list(map(figure_label, names))
        title_width = width - page_layout.text_width(shown) - 0.1
        title = page_layout.wrap_text(metric_labels.axis_label(self.metric), title_width)
        figure = page_layout.new_figure(width, 0.47 + 0.3 * shape[0] + style.LINE * len(title))
        axes = figure.subplots()
        wide = table.pivot(index="router", columns="policy", values="value")
        value = wide.loc[names, policies].to_numpy()
        sign = metric_labels.direction(self.metric) or 1
        low, high = np.nanmin(sign * value), np.nanmax(sign * value)
        dark = (sign * value - low) / max(high - low, 1e-300)
        heat_map.draw_heat_map(axes, dark)
        for _, row in table.iterrows():
            i, j = names.index(row["router"]), policies.index(row["policy"])
            number, *half = value_text(row).split(" ± ")
            look = {"ha": "center", "color": heat_map.text_colour(dark[i, j])}
            if is_unmeasurable(row):
                axes.text(j, i, "not\nmeasurable", va="center", fontsize=6.5, **look)
                continue
            axes.text(j, i, number, va="bottom", **look)
            axes.text(j, i - 0.02, f"± {half[0]}", va="top", fontsize=6.5, **look)
            if row["is_best"]:
                heat_map.outline_cell(axes, i, j)
        axes.set_xticks(range(shape[1]), map(figure_label, policies))
        axes.set_yticks(range(shape[0]), shown)
        axes.set_title("\n".join(title))
        return Drawing(table, figure)

    def asked_arms(self, inputs: FigureInputs) -> list[str]:
        """Return the arms with this partition, sampler and guidance."""
        return list(
            arm_selection.arms_by_router_and_policy(
                inputs, (), self.partition, self.sampler, self.guidance
            ).values()
        )
