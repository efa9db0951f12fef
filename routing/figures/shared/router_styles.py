"""Colours, dashes and loss labels of routers.

The colour of a learned router is its objective, that of another router its name. Dashes depend on
the position of the router in the config, so that two routers with one objective differ.
Neighbouring colours differ in lightness and remain distinguishable in greyscale. To give an
objective its own colour and a label for its loss, add it to ROUTER_COLOURS and to LOSS_LABELS;
otherwise it gets one of OTHER_COLOURS that depends on its name.
"""

from typing import Any

from routing.figures.shared import arm_styles
from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import figure_label

ROUTER_COLOURS = {  # by objective, or by name
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

NATS, SQUARED = "cross-entropy (nats)", "squared error of the ensemble $v$"
LOSS_LABELS = {  # by objective
    "cluster": NATS,
    "soft_cluster": NATS,
    "expert_error": NATS,
    "velocity": SQUARED,
    "velocity_topk": SQUARED,
    "consistency": "squared consistency residual",
}


def router_kind(router: dict) -> str:
    """Return the objective of a learned router, or the name of another router."""
    return router["objective"]["name"] if is_learned(router) else router["name"]


def is_learned(router: dict) -> bool:
    """Return whether the router is trained."""
    return router["name"] == "learned"


def loss_label(router: dict) -> str:
    """Return the label of the loss of a learned router, with its unit."""
    return LOSS_LABELS.get(router_kind(router), f"loss of {figure_label(router_kind(router))}")


def router_colour(inputs: FigureInputs, name: str) -> str:
    """Return the colour of the router `name`."""
    of = router_kind(inputs.routers[name])
    return ROUTER_COLOURS.get(of) or arm_styles.pick_by_name(OTHER_COLOURS, of)


def router_line(inputs: FigureInputs, name: str) -> dict[str, Any]:
    """Return colour and dashes of a line of the router `name`."""
    position = list(inputs.routers).index(name)
    return {"color": router_colour(inputs, name), "linestyle": DASHES[position % len(DASHES)]}


def sampling_version(inputs: FigureInputs, name: str) -> str:
    """Return the version of the router reports that is used for sampling, e.g. "raw"."""
    temperature = inputs.routers[name].get("temperature", "none")
    return "raw" if temperature == "none" else temperature
