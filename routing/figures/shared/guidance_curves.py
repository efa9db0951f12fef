"""Curves over the guidance scale, one per kind of weights and family of arms.

A family is a set of arms that differ in guidance only. `separate` guidance weights each branch by
its own posterior, `shared` guidance weights both by the posterior of the unconditional branch; see
`routing.ensemble.guidance`. An arm without guidance is the point at scale 0 of both kinds, a
`conditional` arm the point at scale 1 of `separate`.
"""

from typing import Any

import pandas as pd

from routing.figures.shared import arm_selection, arm_styles
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_text
from routing.figures.shared.intervals import draw_intervals

LINES = {  # by kind of weights
    "separate": {"color": "#0072B2", "linestyle": "-"},
    "shared": {"color": "#D55E00", "linestyle": "--"},
    "monolith": {"color": arm_styles.MONOLITH_COLOUR, "linestyle": "-."},
}
KINDS = {  # of weights, by name of the guidance; other names are kinds themselves
    "none": ("separate", "shared"),
    "conditional": ("separate",),
}
KEYS = ("partition", "router", "policy", "sampler")


def curve_points(inputs: FigureInputs, arm: str) -> list[tuple[str, str, str, float]]:
    """Return (arm, family, kind, scale) for each curve that the arm is a point of."""
    of, guidance = inputs.arms[arm], arm_selection.guidance_of(inputs, arm)
    scale = arm_selection.guidance_scale(inputs, arm) or 0.0
    if arm_selection.is_monolith(inputs, arm):
        return [(arm, display_name(of["sampler"]), "monolith", scale)]
    family = ", ".join(display_name(of[key]) for key in KEYS)
    kinds = KINDS.get(guidance["name"], (guidance["name"],))
    return [(arm, family, kind, scale) for kind in kinds]


def draw_curve(axes: Any, rows: pd.DataFrame, name: str, kind: str, marker: str) -> Any:
    """Draw one curve with its intervals; return its legend handle."""
    other = {"color": arm_styles.pick_by_name(arm_styles.OTHER_COLOURS, kind), "linestyle": ":"}
    point = {"marker": marker, "markersize": 3.6}
    if kind == "monolith":
        point = {"marker": "*", "markersize": 6}
    line = LINES.get(kind, other) | point
    drawn = draw_intervals(axes, rows, x=rows["scale"], elinewidth=0.8, **line)
    drawn.set_label(figure_text(name))
    return drawn
