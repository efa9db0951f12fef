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

from routing.figures.shared.inputs import Inputs
from routing.figures.shared.named import known

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
    "hysteresis": "#B37AE8",
    "entropy_gated": "#5A3A2E",
    "disagreement_gated": "#B08968",
    "budget": "#0B5D66",
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


def look(inputs: Inputs, arm: str) -> Look:
    """The look of `arm`; the monolith is black."""
    of = inputs.arms[arm]
    solver = inputs.samplers[of["sampler"]]["name"]
    kind = policy_kind(inputs.policies[of["policy"]])
    return Look(
        colour=MONOLITH if is_monolith(inputs, arm) else COLOURS.get(kind, any_of(OTHERS, kind)),
        marker=MARKERS.get(solver, any_of(OTHER_MARKERS, solver)),
        is_hollow=inputs.partitions[of["partition"]]["method"]["name"] == "random",
        is_guided=strength(inputs, arm) is not None,
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
    """Arms that differ in router, policy and kind of guidance alone; monoliths first.

    By partition, sampler and strength of the guidance; all monoliths of one strength together.
    """
    found: dict[str, list[str]] = {}
    for arm in sorted(arms, key=lambda arm: not is_monolith(inputs, arm)):
        of, scale = inputs.arms[arm], strength(inputs, arm)
        title = "monolith"
        if not is_monolith(inputs, arm):
            title = f"{label(of['partition'])}, {label(of['sampler'])}"
        title += "" if scale is None else f", guidance {scale:g}"
        found.setdefault(title, []).append(arm)
    return found


def is_monolith(inputs: Inputs, arm: str) -> bool:
    """Whether the arm has one expert, trained on everything."""
    return inputs.num_experts[inputs.arms[arm]["partition"]] == 1


def guidance(inputs: Inputs, arm: str) -> dict:
    """{name, options} of the arm's guidance; {name: none} where it asks for nothing."""
    return inputs.guidances.get(inputs.arms[arm].get("guidance"), {"name": "none"})


def strength(inputs: Inputs, arm: str) -> float | None:
    """Scale of the guidance; 1 where the condition is asked for without, None where it is not."""
    of = guidance(inputs, arm)
    return None if of["name"] == "none" else float(of.get("scale", 1))


def peer(inputs: Inputs, arm: str, arms: list[str]) -> str | None:
    """The monolith with the sampler and strength of guidance of `arm`, if it is among `arms`."""

    def key(arm: str) -> tuple:
        return inputs.arms[arm]["sampler"], strength(inputs, arm)

    same = [a for a in arms if is_monolith(inputs, a) and key(a) == key(arm)]
    return same[0] if same else None


def cells(
    inputs: Inputs, arms: tuple[str, ...], partition: str, sampler: str, guidance: str | None
) -> dict[tuple[str, str], str]:
    """{(router, policy): arm} of those of `arms` (all, if none) that share all but these two.

    ValueError on unknown names, where nothing is left, and where two arms are one cell.
    """
    known(partition, list(inputs.partitions), "partition")
    known(sampler, list(inputs.samplers), "sampler")
    if guidance is not None:
        known(guidance, list(inputs.guidances), "guidance")
    shared = {"partition": partition, "sampler": sampler, "guidance": guidance}
    found: dict[tuple[str, str], str] = {}
    for arm in inputs.chosen(arms):
        of = inputs.arms[arm]
        if any(of.get(key) != value for key, value in shared.items()):
            continue
        first = found.setdefault((of["router"], of["policy"]), arm)
        if first != arm:
            raise ValueError(
                f"arms: wanted one arm per router and policy, got {first!r} and {arm!r} with "
                f"equal ones; name the arms"
            )
    if not found:
        told = ", ".join(f"{key} {value}" for key, value in shared.items() if value)
        raise ValueError(f"arms: wanted some with {told}, got none; name others")
    return found


def measured(metric: str, found: Any, arms: list[str]) -> list[str]:
    """Those of `arms` of which `found`, a table by arm, has this metric; ValueError if none."""
    kept = [arm for arm in arms if arm in found.index]
    if not kept:
        raise ValueError(f"{metric}: it was not measured on any of these arms; name others")
    return kept


def any_of(choices: tuple[str, ...], name: str) -> str:
    """One of `choices`, always the same for one name."""
    return choices[hashlib.sha256(name.encode()).digest()[0] % len(choices)]
