"""Routers in the eye and in words: colour is the objective (or kind), dashes the place.

A learned router is coloured by what it was trained for, one without training by what it is.
Dashes go by its place among the config's routers, so that two of one objective differ, and
lightness steps from each colour to the next: lines can be told in grey. To give an objective a
colour and its loss a name, add a row to COLOURS and to LOSSES; without, it takes one of OTHERS.
"""

from typing import Any

from routing.figures.shared import arm_styles
from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_inputs import FigureInputs

ROUTER_COLOURS = {  # by kind
    "cluster": "#000000",
    "soft_cluster": "#8C8C8C",
    "expert_error": "#0072B2",
    "velocity": "#D55E00",
    "velocity_topk": "#F0A860",
    "consistency": "#00694E",
    "prior": "#B08968",
    "uniform": "#6B3D1E",
    "oracle_label": "#9467BD",
    "nearest_centroid": "#C2185B",
    "conditional_prior": "#7FA650",
    "confidence": "#3B2A7A",
    "density": "#56B4E9",
    "exact": "#5D6D1E",
}
OTHER_COLOURS = ("#7A5C99", "#A03A3A", "#3F8F8F")
DASHES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))

NATS, SQUARED = "cross-entropy (nats)", "squared error of the mixed $v$"
LOSS_LABELS = {  # what the loss of an objective is, on the axis of its panel
    "cluster": NATS,
    "soft_cluster": NATS,
    "expert_error": NATS,
    "velocity": SQUARED,
    "velocity_topk": SQUARED,
    "consistency": "squared residual of consistency",
}


def router_kind(router: dict) -> str:
    """The objective of a learned router, the name of another one."""
    return router["objective"]["name"] if is_learned(router) else router["name"]


def is_learned(router: dict) -> bool:
    """Whether it is trained."""
    return router["name"] == "learned"


def loss_label(router: dict) -> str:
    """What the loss of a learned router is, with its unit."""
    return LOSS_LABELS.get(router_kind(router), f"loss of {display_name(router_kind(router))}")


def router_colour(inputs: FigureInputs, name: str) -> str:
    """The colour of the router `name`."""
    of = router_kind(inputs.routers[name])
    return ROUTER_COLOURS.get(of) or arm_styles.pick_by_name(OTHER_COLOURS, of)


def router_line(inputs: FigureInputs, name: str) -> dict[str, Any]:
    """Colour and dashes of lines of the router `name`."""
    place = list(inputs.routers).index(name)
    return {"color": router_colour(inputs, name), "linestyle": DASHES[place % len(DASHES)]}


def sampling_version(inputs: FigureInputs, name: str) -> str:
    """The version of the reports that samples: raw, or with its fitted temperatures."""
    temperature = inputs.routers[name].get("temperature", "none")
    return "raw" if temperature == "none" else temperature
