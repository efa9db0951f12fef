"""Colours and markers of arms and of experts.

The colour of an arm is its policy, the marker its solver. The markers of arms on a random
partition are hollow. The markers of guided arms are filled on one half: the left one, or the right
one on a random partition. A monolith (one expert trained on all data) is black.

A style depends on the options of the arm in the config, not on its position in a figure, so a
policy has the same colour in all figures. Neighbouring colours differ in lightness and remain
distinguishable in greyscale. To give a policy its own colour, add it to POLICY_COLOURS; otherwise
it gets one of OTHER_COLOURS that depends on its name.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from routing.figures.shared import arm_selection
from routing.figures.shared.figure_inputs import FigureInputs

MONOLITH_COLOUR = "#000000"
POLICY_COLOURS = {  # by kind of policy
    "top1": "#08306B",
    "top2": "#2C7FB8",
    "top3": "#86CDEB",
    "full": "#D55E00",
    "full_top1": "#EDA81C",
    "top1_full": "#7A5200",
    "nucleus": "#00A878",
    "threshold": "#215732",
    "sample_each_step": "#D884B7",
    "sticky": "#6A1B5E",
    "hysteresis": "#B37AE8",
    "entropy_gated": "#5A3A2E",
    "disagreement_gated": "#B08968",
    "budget": "#0B5D66",
}
OTHER_COLOURS = ("#8A8A8A", "#B0413E", "#3F4E9E", "#A6A11B")
SAMPLER_MARKERS = {"euler": "o", "heun": "s", "dpmpp_2m": "^", "rk4": "D"}  # by kind of solver
OTHER_MARKERS = ("v", "P", "X", "<", ">")
EXPERT_COLOURS = (  # alternately dark and light
    "#00332E",
    "#8FAE5D",
    "#8C5A3C",
    "#D2AE6D",
    "#5B3F9E",
    "#B3A4E0",
    "#5F6B73",
    "#BFC4C7",
)
EXPERT_HATCHES = ("", "////", "....", "xxxx")  # one per round through EXPERT_COLOURS


@dataclass(frozen=True)
class ArmStyle:
    """Colour and marker of one arm."""

    colour: str
    marker: str
    is_hollow: bool
    is_guided: bool

    def marker_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments of `Axes.plot` or `Axes.errorbar`."""
        face, other = self.colour, "white"
        if self.is_hollow:
            face, other = other, face
        return {
            "color": self.colour,
            "marker": self.marker,
            "fillstyle": "left" if self.is_guided else "full",
            "markerfacecolor": face,
            "markerfacecoloralt": other,
            "markeredgecolor": self.colour,
            "markeredgewidth": 0.9,
            "linestyle": "none",
        }


def arm_style(inputs: FigureInputs, arm: str) -> ArmStyle:
    """Return the style of `arm`."""
    of = inputs.arms[arm]
    solver = inputs.samplers[of["sampler"]]["name"]
    kind = policy_kind(inputs.policies[of["policy"]])
    colour = POLICY_COLOURS.get(kind, pick_by_name(OTHER_COLOURS, kind))
    return ArmStyle(
        colour=MONOLITH_COLOUR if arm_selection.is_monolith(inputs, arm) else colour,
        marker=SAMPLER_MARKERS.get(solver, pick_by_name(OTHER_MARKERS, solver)),
        is_hollow=inputs.partitions[of["partition"]]["method"]["name"] == "random",
        is_guided=arm_selection.guidance_scale(inputs, arm) is not None,
    )


def policy_kind(policy: dict) -> str:
    """Return the key of a policy in POLICY_COLOURS, e.g. "top2", "nucleus" or "full_top1"."""
    if policy["name"] == "top_k":
        return f"top{policy['k']}"
    if policy["name"] == "switch":
        return f"{policy_kind(policy['early'])}_{policy_kind(policy['late'])}"
    return policy["name"]


def expert_area(k: int) -> dict[str, Any]:
    """Return colour and hatch of a filled area of expert (or cluster) `k`."""
    rounds, position = divmod(k, len(EXPERT_COLOURS))
    return {
        "facecolor": EXPERT_COLOURS[position],
        "hatch": EXPERT_HATCHES[rounds % len(EXPERT_HATCHES)],
    }


def expert_line(k: int) -> dict[str, Any]:
    """Return colour and dashes of a line of expert `k`."""
    return {
        "color": EXPERT_COLOURS[k % len(EXPERT_COLOURS)],
        "linestyle": ("-", "--", "-.", ":")[k % 4],
    }


def pick_by_name(choices: tuple[str, ...], name: str) -> str:
    """Return one of `choices`, always the same for a name."""
    return choices[hashlib.sha256(name.encode()).digest()[0] % len(choices)]
