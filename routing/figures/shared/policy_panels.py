"""One metric of partitions in panels by policy, each with the monolith's value and interval."""

from typing import Any

import pandas as pd

from routing.figures.shared import page_layout, partition_arms, style
from routing.figures.shared.figure_inputs import FigureInputs

MAX_COLUMNS, HEIGHT = 3, 1.9  # panels side by side; height of one, in


def policy_panels(
    inputs: FigureInputs, of: Any, table: pd.DataFrame, width_alone: float
) -> tuple[Any, dict[str, Any], list]:
    """Return a figure, {policy: axes} with shared scales, and the legend handles of the monolith.

    `of` is a figure with metric and policies, `table` has the rows of
    `partition_arms.metric_rows`. `width_alone` is the width of the figure if it has one column
    of panels, in.
    """
    names = partition_arms.policies_in(inputs, of, table)
    columns = page_layout.balanced_columns(len(names), MAX_COLUMNS)
    width = style.PAGE if columns > 1 else width_alone
    figure, axes = page_layout.panel_grid(
        len(names), columns, width, HEIGHT, sharex=True, sharey=True
    )
    value, half_width = table["value"].to_numpy(), table["half_width"].to_numpy()
    page_layout.fit_scale(axes[0], "y", value, half_width)
    for ax in axes:
        handles = partition_arms.draw_monolith(ax, table)
    label = partition_arms.axis_label(of.metric)
    figure.supylabel(label, multialignment="center", linespacing=1.1)
    return figure, dict(zip(names, axes, strict=True)), handles
