"""Networks and closed forms from their artifacts: the notes say what the arrays are.

The provenance of a weights file carries `model`: {"name": "dit", architecture} or
{"name": "mixture"}, with "num_labels" where its components have labels; `load` makes the callable
from the two.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from routing.flow.exact_worlds import LabelledMixture, Mixture
from routing.networks.dit import Architecture, DiT


def architecture(values_shape: tuple[int, ...], **options: Any) -> dict:
    """The `model` note of a DiT for images of `values_shape` (channels, height, width).

    Raises ValueError for points and for images that are not square.
    """
    if len(values_shape) != 3 or values_shape[1] != values_shape[2]:
        raise ValueError(
            f"a transformer wants square images [channels, size, size], got samples of shape "
            f"{list(values_shape)}; use another kind or crop them"
        )
    built = Architecture(image_size=values_shape[1], channels=values_shape[0], **options)
    return {"name": "dit"} | asdict(built)


def new_network(model: dict) -> DiT:
    """A DiT with fresh weights from torch's global generator."""
    return DiT(Architecture(**{k: v for k, v in model.items() if k != "name"}))


def load(arrays: dict[str, np.ndarray], notes: dict) -> DiT | Mixture | LabelledMixture:
    """The network (evaluation mode, no gradients) or mixture that an artifact holds."""
    model = notes["model"]
    if model["name"] == "mixture":
        world = mixture(arrays)
        if "num_labels" not in model:
            return world
        return LabelledMixture(world, torch.from_numpy(arrays["labels"]), model["num_labels"])
    net = new_network(model)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()}, strict=True)
    return net.eval().requires_grad_(False)


def mixture(arrays: dict[str, np.ndarray]) -> Mixture:
    """The Gaussian mixture of `weights`, `means` and isotropic `stds` (weights renormalised)."""
    weights = torch.from_numpy(arrays["weights"])
    means, stds = torch.from_numpy(arrays["means"]), torch.from_numpy(arrays["stds"])
    eye = torch.eye(means.shape[1], dtype=means.dtype)
    return Mixture(weights / weights.sum(), means, stds[:, None, None].square() * eye)
