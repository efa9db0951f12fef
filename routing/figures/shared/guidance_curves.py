"""Curves over the guidance scale, one per family of arms and kind of guidance."""

from typing import Any

import pandas as pd

from routing.figures.shared import arm_selection, arm_styles
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs

LINES = {
    "separate": {"color": "#0072B2", "linestyle": "-"},
    "shared": {"color": "#D55E00", "linestyle": "--"},
    "monolith": {"color": arm_styles.MONOLITH_COLOUR, "linestyle": "-."},
}
KINDS = {"none": ("separate", "shared"), "conditional": ("separate",)}  # other kinds are their own
KEYS = ("partition", "router", "policy", "sampler")


def curve_points(inputs: FigureInputs, arm: str) -> list[tuple[str, str, str, float]]:
    """(arm, family, kind, scale) of each curve that the arm is a point of."""
    of, guidance = inputs.arms[arm], arm_selection.guidance_of(inputs, arm)
    scale = arm_selection.guidance_scale(inputs, arm) or 0.0
    if arm_selection.is_monolith(inputs, arm):
        return [(arm, display_name(of["sampler"]), "monolith", scale)]
    family = ", ".join(display_name(of[key]) for key in KEYS)
    kinds = KINDS.get(guidance["name"], (guidance["name"],))
    return [(arm, family, kind, scale) for kind in kinds]


def draw_curve(axes: Any, rows: pd.DataFrame, name: str, kind: str, marker: str) -> Any:
    """One curve with its intervals; returns its handle."""
    error = [rows["value"] - rows["lo"], rows["hi"] - rows["value"]]
    look = LINES.get(
        kind, {"color": arm_styles.pick_by_name(arm_styles.OTHER_COLOURS, kind), "linestyle": ":"}
    )
    look |= {"marker": "*" if kind == "monolith" else marker}
    look |= {"markersize": 6 if kind == "monolith" else 3.6}
    drawn = axes.errorbar(rows["scale"], rows["value"], yerr=error, elinewidth=0.8, **look)
    drawn.set_label(name)
    return drawn
