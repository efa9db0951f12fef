"""Difference of every arm from the reference arm: a dot plot with 95 % intervals."""

from dataclasses import dataclass
from typing import ClassVar

from routing.figures.shared import arm_selection, dot_plot_rows, metric_labels, style
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.style import Drawing


@dataclass(frozen=True)
class Differences:
    """One metric of every arm minus that of the reference arm, paired by sample seed."""

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
                "differences: wanted arms other than the reference, got none; name others"
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
