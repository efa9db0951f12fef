"""What a figure was asked to show and does not, as a line on the figure and in the log.

A figure is asked for the arms, policies and metrics that its options name. If it names no arms, it
is asked for the arms of its method `asked_arms(inputs)`, or for all arms if it has none. An
arm may be left out because the metric has no value, because its curve has one point, or because it
differs from the others in more than the figure compares.
"""

from typing import Any

import pandas as pd

from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs

MAX_NAMES = 6  # names in the line on the figure; the log has all
ARM_COLUMNS = ("arm", "other", "reference", "monolith")  # of the tables of figures


def names_left_out(figure: Any, inputs: FigureInputs, table: pd.DataFrame) -> list[str]:
    """Return the arms, policies and metrics that `figure` was asked for and `table` lacks."""
    asked = {
        "arm": ARM_COLUMNS if {*ARM_COLUMNS} & {*table.columns} else (),
        "policy": ("policy",),
        "metric": ("metric",),
    }
    names = {
        "arm": _asked_arms(figure, inputs),
        "policy": getattr(figure, "policies", ()),
        "metric": getattr(figure, "metrics", ()),
    }
    found = []
    for key, columns in asked.items():
        columns = [column for column in columns if column in table]
        shown = set().union(*(table[column].dropna() for column in columns))
        if columns:
            missing = [name for name in dict.fromkeys(names[key]) if name not in shown]
            found += [name if key == "arm" else f"{key} {name}" for name in missing]
    return found


def left_out_line(names: list[str], most: int = MAX_NAMES) -> str:
    """Return 'not shown: a, b, and 3 more (no value, or not comparable in this figure)'."""
    shown = ", ".join(map(display_name, names[:most]))
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return f"not shown: {shown}{more} (no value, or not comparable in this figure)"


def _asked_arms(figure: Any, inputs: FigureInputs) -> list[str]:
    if not hasattr(figure, "arms") and not hasattr(figure, "asked_arms"):
        return []
    if getattr(figure, "arms", ()) or not hasattr(figure, "asked_arms"):
        return inputs.selected_arms(figure.arms)
    return list(figure.asked_arms(inputs))
