"""Quality by arm, and its difference from the reference arm: dot plots with 95 % intervals.

Arms stand in groups that differ in router and policy alone; across each group runs the monolith
under the group's own sampler, the comparison that is fair.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from routing.figures.shared import arm_selection, dot_plot_rows, metric_labels, page_layout, style
from routing.figures.shared.config_view import display_name
from routing.figures.shared.dot_plot_rows import DotPlotRows
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing


@dataclass(frozen=True)
class Quality:
    """Value of one metric for every arm, against the monolith and held-out data."""

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
        shown = [
            *layout.of_arm,
            *([arm_selection.HELDOUT] if arm_selection.HELDOUT in found.index else []),
        ]
        table = found.loc[shown].reset_index(drop=True)
        figure = layout.new_figure(metric_labels.axis_label(self.metric), 0.47)
        axes = figure.subplots()
        drawn = metric_labels.clip_intervals(found)
        layout.draw_values(axes, inputs, drawn)
        handles = _monoliths(axes, inputs, layout, drawn, names) + _floor(axes, found)
        layout.draw_frame(axes)
        dot_plot_rows.format_value_axis(axes)
        if handles:
            page_layout.legend_above(figure, handles, 1)
        return Drawing(table, figure)


@dataclass(frozen=True)
class Differences:
    """One metric of every arm minus that of the reference arm, paired by seed."""

    metric: str
    arms: tuple[str, ...] = ()

    needs: ClassVar[tuple[str, ...]] = ("differences",)
    formats: ClassVar[tuple[str, ...]] = style.IMAGE_FORMATS

    @style.styled
    def draw(self, inputs: FigureInputs) -> Drawing:
        """A row per arm, the best of each group on top; zero is the reference arm."""
        names = [a for a in inputs.selected_arms(self.arms) if a in set(inputs.differences["arm"])]
        if not names:
            raise ValueError(
                "differences: wanted arms beside the reference, got none; name others"
            )
        found = inputs.metric_rows(self.metric, inputs.differences)
        names = arm_selection.require_measured(self.metric, found, names)
        layout = dot_plot_rows.grouped_rows(
            inputs, names, found["value"].to_dict(), metric_labels.direction(self.metric)
        )
        table = found.loc[list(layout.of_arm)].reset_index(drop=True)
        note = f", minus {display_name(table['reference'].iloc[0])}"
        figure = layout.new_figure(metric_labels.axis_label(self.metric, note), 0.27)
        axes = figure.subplots()
        axes.axvline(0, color="black", linewidth=0.8, zorder=1)
        layout.draw_values(axes, inputs, table)
        layout.draw_frame(axes)
        dot_plot_rows.format_value_axis(axes)
        return Drawing(table, figure)


def _monoliths(
    axes: Any, inputs: FigureInputs, layout: DotPlotRows, found: pd.DataFrame, names: list[str]
) -> list:
    """Line and band of the monolith across every group of its sampler; the legend's handles."""
    drawn: list = []
    for span in layout.spans.values():
        group = [a for a, y in layout.of_arm.items() if span[0] < y < span[1]]
        monolith = arm_selection.matching_monolith(inputs, group[0], names)
        if monolith is None or monolith in group:
            continue
        row = found.loc[monolith]
        band = axes.fill_betweenx(span, row["lo"], row["hi"], color=style.BAND, linewidth=0)
        (line,) = axes.plot([row["value"]] * 2, span, color="black", linewidth=0.8, zorder=1.5)
        drawn = [(band, line)]
    return [_named(drawn[0], "monolith with the same sampler (95 % interval)")] if drawn else []


def _floor(axes: Any, found: pd.DataFrame) -> list:
    """A dashed line at the held-out data; the legend's handle."""
    if arm_selection.HELDOUT not in found.index:
        return []
    row = found.loc[arm_selection.HELDOUT]
    line = axes.axvline(row["value"], color=style.GREY, linewidth=0.8, dashes=(3, 2), zorder=1)
    line.set_label(f"held-out data (n = {row['num_samples']:,})")
    return [line]


def _named(handles: tuple, text: str) -> Any:
    band, line = handles
    line.set_label(text)
    return line
