"""Quality of every arm: a dot plot with 95 % intervals.

Arms that differ in router and policy only form a group. The band across a group is the monolith
under the sampler of the group, with its interval.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import arm_selection, dot_plot_rows, metric_labels, page_layout, style
from routing.figures.shared.dot_plot_rows import DotPlotRows
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing


@dataclass(frozen=True)
class Quality:
    """One metric of every arm, beside the monolith and held-out data."""

    metric: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("metrics",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A row per arm, the best of each group on top."""
        found = inputs.metric_rows(self.metric, inputs.metrics)
        names = arm_selection.require_measured(self.metric, found, inputs.selected_arms(self.arms))
        layout = dot_plot_rows.grouped_rows(
            inputs, names, found["value"].to_dict(), metric_labels.direction(self.metric)
        )
        shown = [*layout.of_arm]
        if arm_selection.HELDOUT in found.index:
            shown.append(arm_selection.HELDOUT)
        table = found.loc[shown].reset_index(drop=True)
        figure = layout.new_figure(metric_labels.axis_label(self.metric), 0.47)
        axes = figure.subplots()
        drawn = metric_labels.clip_intervals(found)
        layout.draw_values(axes, inputs, drawn)
        handles = _draw_monoliths(axes, inputs, layout, drawn, names) + _draw_heldout(axes, found)
        layout.draw_frame(axes)
        dot_plot_rows.format_value_axis(axes)
        if handles:
            page_layout.legend_above(figure, handles, 1)
        return Drawing(table, figure)


def _draw_monoliths(
    axes: Any, inputs: FigureInputs, layout: DotPlotRows, found: pd.DataFrame, names: list[str]
) -> list:
    """Draw the monolith of each group's sampler across the group; return a legend handle."""
    handles: list = []
    for span in layout.spans.values():
        group = [a for a, y in layout.of_arm.items() if span[0] < y < span[1]]
        monolith = arm_selection.matching_monolith(inputs, group[0], names)
        if monolith is None or monolith in group:
            continue
        row = found.loc[monolith]
        axes.fill_betweenx(span, row["lo"], row["hi"], color=style.BAND, linewidth=0)
        handles = axes.plot([row["value"]] * 2, span, color="black", linewidth=0.8, zorder=1.5)
        handles[0].set_label("monolith with the same sampler (95 % interval)")
    return handles


def _draw_heldout(axes: Any, found: pd.DataFrame) -> list:
    """Draw a dashed line at the value of the held-out data; return a legend handle."""
    if arm_selection.HELDOUT not in found.index:
        return []
    row = found.loc[arm_selection.HELDOUT]
    line = axes.axvline(row["value"], color=style.GREY, linewidth=0.8, dashes=(3, 2), zorder=1)
    line.set_label(f"held-out data (n = {row['num_samples']:,})")
    return [line]
