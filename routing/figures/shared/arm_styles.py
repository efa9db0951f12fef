"""Arms in the eye and in words: colour is the policy, marker the solver, a hollow one random.

A half-filled marker is a guided arm, the coloured half on the left, on the right if random.

Looks depend on what an arm *is* (the rows and options its config names), never on its place in
one figure, so a policy has its colour everywhere. Neighbours in the tables below differ in
lightness too, and arms are labelled in place: everything can be read in grey. To give a policy
a colour of its own, add a row to COLOURS; without one it takes one of OTHERS by its name.
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
    "sample": "#D884B7",
    "sticky": "#6A1B5E",
    "hysteresis": "#B37AE8",
    "entropy_gated": "#5A3A2E",
    "disagreement_gated": "#B08968",
    "budget": "#0B5D66",
}
OTHER_COLOURS = ("#8A8A8A", "#B0413E", "#3F4E9E", "#A6A11B")
SAMPLER_MARKERS = {"euler": "o", "heun": "s", "dpmpp_2m": "^", "rk4": "D"}  # by kind of solver
OTHER_MARKERS = ("v", "P", "X", "<", ">")
EXPERT_COLOURS = (  # lightness goes up and down, so that neighbours differ in grey
    "#00332E",
    "#8FAE5D",
    "#8C5A3C",
    "#D2AE6D",
    "#5B3F9E",
    "#B3A4E0",
    "#5F6B73",
    "#BFC4C7",
)
EXPERT_HATCHES = ("", "////", "....", "xxxx")  # of the second and further rounds of EXPERTS


@dataclass(frozen=True)
class ArmStyle:
    """How one arm is drawn."""

    colour: str
    marker: str
    is_hollow: bool
    is_guided: bool

    def points(self) -> dict[str, Any]:
        """Keywords of a plot of points."""
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
    """The look of `arm`; the monolith is black."""
    of = inputs.arms[arm]
    solver = inputs.samplers[of["sampler"]]["name"]
    kind = policy_kind(inputs.policies[of["policy"]])
    return ArmStyle(
        colour=MONOLITH_COLOUR
        if arm_selection.is_monolith(inputs, arm)
        else POLICY_COLOURS.get(kind, pick_by_name(OTHER_COLOURS, kind)),
        marker=SAMPLER_MARKERS.get(solver, pick_by_name(OTHER_MARKERS, solver)),
        is_hollow=inputs.partitions[of["partition"]]["method"]["name"] == "random",
        is_guided=arm_selection.guidance_scale(inputs, arm) is not None,
    )


def policy_kind(policy: dict) -> str:
    """What colours a policy: its row in POLICIES, with k, and the two parts of a switch."""
    if policy["name"] == "top_k":
        return f"top{policy['k']}"
    if policy["name"] == "switch":
        return f"{policy_kind(policy['early'])}_{policy_kind(policy['late'])}"
    return policy["name"]


def expert_area(k: int) -> dict[str, Any]:
    """Colour and hatch of expert (or cluster) `k`, for filled areas."""
    rounds, place = divmod(k, len(EXPERT_COLOURS))
    return {
        "facecolor": EXPERT_COLOURS[place],
        "hatch": EXPERT_HATCHES[rounds % len(EXPERT_HATCHES)],
    }


def expert_line(k: int) -> dict[str, Any]:
    """Colour and dashes of expert `k`, for lines."""
    return {
        "color": EXPERT_COLOURS[k % len(EXPERT_COLOURS)],
        "linestyle": ("-", "--", "-.", ":")[k % 4],
    }


def pick_by_name(choices: tuple[str, ...], name: str) -> str:
    """One of `choices`, always the same for one name."""
    return choices[hashlib.sha256(name.encode()).digest()[0] % len(choices)]
