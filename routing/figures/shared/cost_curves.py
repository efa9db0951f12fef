"""Curves of a metric over the cost of a sample, one per family of arms.

A family is a router with one partition, sampler and guidance; its arms differ in the policy. The
colour of a curve is that of the router, its label is at the end with the highest cost, and markers
are policies. Monoliths are black stars.
"""

from typing import Any

import numpy as np
import pandas as pd

from routing.figures.shared import arm_selection, arm_styles, router_styles, style
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label

MONOLITH_MARKER = {"marker": "*", "markersize": 8}
POLICY_MARKERS = {  # by kind of policy
    "full": "o",
    "top1": "v",
    "top2": "^",
    "top3": "<",
    "nucleus": "s",
    "threshold": ">",
    "sample_each_step": "X",
    "sticky": "P",
    "hysteresis": "p",
    "entropy_gated": "d",
    "disagreement_gated": "D",
    "budget": "h",
    "full_top1": "8",
    "top1_full": "H",
}
KEYS = ("router", "partition", "sampler", "guidance")


class CostCurves:
    """The families of the arms in `table` (arm, cost, value)."""

    def __init__(self, inputs: FigureInputs, table: pd.DataFrame):
        """Sort the arms into families, each by rising cost."""
        self.inputs, self.members = inputs, {}
        ordered = table.sort_values(["cost", "value"], kind="stable")
        for row in ordered.itertuples():
            of = inputs.arms[row.arm]
            key = tuple(of.get(k) for k in KEYS)
            if arm_selection.is_monolith(inputs, row.arm):
                key = ("", *key[1:])
            self.members.setdefault(key, []).append(row)

    def marker_kwargs(self, arm: str) -> dict[str, Any]:
        """Return the keyword arguments of the point of one arm."""
        if arm_selection.is_monolith(self.inputs, arm):
            return {"color": arm_styles.MONOLITH_COLOUR, "linestyle": "none"} | MONOLITH_MARKER
        of = self.inputs.arms[arm]
        look = arm_styles.arm_style(self.inputs, arm).marker_kwargs()
        kind = arm_styles.policy_kind(self.inputs.policies[of["policy"]])
        colour = router_styles.router_colour(self.inputs, of["router"])
        faces = {"markerfacecolor": look["markerfacecolor"]}
        faces["markerfacecoloralt"] = look["markerfacecoloralt"]
        faces = {key: face if face == "white" else colour for key, face in faces.items()}
        other = arm_styles.pick_by_name(arm_styles.OTHER_MARKERS, kind)
        marker = POLICY_MARKERS.get(kind, other)
        return look | faces | {"color": colour, "markeredgecolor": colour, "marker": marker}

    def draw_lines(self, axes: Any) -> np.ndarray:
        """Draw a line through each family; return its segments [segments, 2 ends, 2]."""
        segments = [np.zeros((0, 2, 2))]
        for key, rows in self.members.items():
            if not key[0]:
                continue
            line = np.array([[row.cost, row.value] for row in rows])
            look = router_styles.router_line(self.inputs, key[0])
            axes.plot(*line.T, linewidth=0.9, zorder=1.2, **look)
            segments.append(np.stack([line[:-1], line[1:]], 1))
        return np.concatenate(segments)

    def end_labels(self) -> tuple[np.ndarray, list[str], list[str]]:
        """Return points [families, 2], names and colours of the labels of the curves."""
        last = {key: rows[-1] for key, rows in self.members.items()}
        shared = [i for i in range(1, len(KEYS)) if len({key[i] for key in last if key[0]}) < 2]
        names, colours = [], []
        for key in last:
            differing = [key[i] for i in range(1, len(KEYS)) if key[i] and i not in shared]
            if not key[0] and 1 not in shared:  # a monolith needs no name of its partition
                differing = differing[1:]
            names.append(", ".join(map(figure_label, (key[0] or "monolith", *differing))))
            colour = router_styles.router_colour(self.inputs, key[0]) if key[0] else None
            colours.append(colour or arm_styles.MONOLITH_COLOUR)
        return np.array([[row.cost, row.value] for row in last.values()]), names, colours

    def legend_handles(self) -> list:
        """Return the legend of the markers that occur."""
        from matplotlib.lines import Line2D

        found: dict[str, str] = {}
        for rows in self.members.values():
            for row in rows:
                if not arm_selection.is_monolith(self.inputs, row.arm):
                    marker = self.marker_kwargs(row.arm)["marker"]
                    policy = self.inputs.policies[self.inputs.arms[row.arm]["policy"]]
                    found[marker] = figure_label(arm_styles.policy_kind(policy))
        look = {"color": style.GREY, "linestyle": "none"}
        order = [*POLICY_MARKERS.values(), *arm_styles.OTHER_MARKERS]
        markers = sorted(found, key=order.index)
        return [Line2D([], [], marker=m, label=found[m], **look) for m in markers]
