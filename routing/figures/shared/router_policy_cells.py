"""One metric of the arms that differ in router and policy only: the cells of a table or a map."""

from typing import Any

import pandas as pd

from routing.figures.shared import arm_selection, best_arms
from routing.figures.shared.figure_inputs import FigureInputs


def cell_rows(inputs: FigureInputs, of: Any) -> pd.DataFrame:
    """Rows of the metric of each cell, with router, policy, half_width and is_best.

    `of` is a figure with metric, partition, sampler, guidance and arms. Raises ValueError if two
    arms have one cell, and if the metric was measured on none of the arms.
    """
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
    table["is_best"] = best_arms.is_best(inputs, of.metric, table)
    return table
