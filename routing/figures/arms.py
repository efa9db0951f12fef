"""Arms in the eye and in words: colour is the policy, marker the solver, a hollow one random.

Looks depend on what an arm *is* (the rows and options its config names), never on its place in
one figure, so a policy has its colour everywhere. Neighbours in the tables below differ in
lightness too, and arms are labelled in place: everything can be read in grey. To give a policy
a colour of its own, add a row to COLOURS; without one it takes one of OTHERS by its name.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from routing.figures.inputs import Inputs

MONOLITH = "#000000"
COLOURS = {  # by kind of policy
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
}
OTHERS = ("#8A8A8A", "#B0413E", "#3F4E9E", "#A6A11B")
MARKERS = {"euler": "o", "heun": "s", "dpmpp_2m": "^", "rk4": "D"}  # by kind of solver
OTHER_MARKERS = ("v", "P", "X", "<", ">")
EXPERTS = (  # lightness goes up and down, so that neighbours differ in grey
    "#00332E",
    "#8FAE5D",
    "#8C5A3C",
    "#D2AE6D",
    "#5B3F9E",
    "#B3A4E0",
    "#5F6B73",
    "#BFC4C7",
)
HATCHES = ("", "////", "....", "xxxx")  # of the second and further rounds of EXPERTS


@dataclass(frozen=True)
class Look:
    """How one arm is drawn."""

    colour: str
    marker: str
    is_hollow: bool

    def points(self) -> dict[str, Any]:
        """Keywords of a plot of points."""
        face = "white" if self.is_hollow else self.colour
        return {
            "color": self.colour,
            "marker": self.marker,
            "markerfacecolor": face,
            "markeredgecolor": self.colour,
            "markeredgewidth": 0.9,
            "linestyle": "none",
        }


def look(inputs: Inputs, arm: str) -> Look:
    """The look of `arm`; the monolith is black."""
    of = inputs.arms[arm]
    solver = inputs.samplers[of["sampler"]]["name"]
    is_monolith = inputs.num_experts[of["partition"]] == 1
    kind = policy_kind(inputs.policies[of["policy"]])
    return Look(
        colour=MONOLITH if is_monolith else COLOURS.get(kind, _any(OTHERS, kind)),
        marker=MARKERS.get(solver, _any(OTHER_MARKERS, solver)),
        is_hollow=inputs.partitions[of["partition"]]["method"]["name"] == "random",
    )


def policy_kind(policy: dict) -> str:
    """What colours a policy: its row in POLICIES, with k, and the two parts of a switch."""
    if policy["name"] == "top_k":
        return f"top{policy['k']}"
    if policy["name"] == "switch":
        return f"{policy_kind(policy['early'])}_{policy_kind(policy['late'])}"
    return policy["name"]


def expert_look(k: int) -> dict[str, Any]:
    """Colour and hatch of expert (or cluster) `k`, for filled areas."""
    rounds, place = divmod(k, len(EXPERTS))
    return {"facecolor": EXPERTS[place], "hatch": HATCHES[rounds % len(HATCHES)]}


def expert_line(k: int) -> dict[str, Any]:
    """Colour and dashes of expert `k`, for lines."""
    return {"color": EXPERTS[k % len(EXPERTS)], "linestyle": ("-", "--", "-.", ":")[k % 4]}


def label(name: str) -> str:
    """A name of the config as printed: words instead of underscores."""
    return name.replace("_", " ")


def groups(inputs: Inputs, arms: list[str]) -> dict[str, list[str]]:
    """Arms that differ in router and policy alone: by partition and sampler; monoliths first."""
    found: dict[str, list[str]] = {}
    for arm in sorted(arms, key=lambda arm: not is_monolith(inputs, arm)):
        of = inputs.arms[arm]
        title = "monolith"
        if not is_monolith(inputs, arm):
            title = f"{label(of['partition'])}, {label(of['sampler'])}"
        found.setdefault(title, []).append(arm)
    return found


def is_monolith(inputs: Inputs, arm: str) -> bool:
    """Whether the arm has one expert, trained on everything."""
    return inputs.num_experts[inputs.arms[arm]["partition"]] == 1


def peer(inputs: Inputs, arm: str, arms: list[str]) -> str | None:
    """The monolith under the same sampler as `arm`, if it is among `arms`."""
    sampler = inputs.arms[arm]["sampler"]
    same = [a for a in arms if is_monolith(inputs, a) and inputs.arms[a]["sampler"] == sampler]
    return same[0] if same else None


def _any(choices: tuple[str, ...], name: str) -> str:
    return choices[hashlib.sha256(name.encode()).digest()[0] % len(choices)]
