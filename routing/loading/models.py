"""Models from their artifacts: DiTs, and Gaussian mixtures in closed form.

The metadata of a weights file has `model`: {"name": "dit", ...the architecture} or
{"name": "mixture"}, with "num_labels" if the components of the mixture have labels. `load` builds
the model from it and the arrays.
"""

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from routing.flow.exact_worlds import GaussianMixture, LabelledMixture
from routing.networks.dit import Architecture, DiT


def dit_config(values_shape: tuple[int, ...], **options: Any) -> dict:
    """Return the `model` metadata of a DiT for images of `values_shape` [channels, size, size].

    Raises ValueError for samples that are not square images.
    """
    if len(values_shape) != 3 or values_shape[1] != values_shape[2]:
        raise ValueError(
            f"a transformer wants square images [channels, size, size], got samples of shape "
            f"{list(values_shape)}; use another kind or crop them"
        )
    built = Architecture(image_size=values_shape[1], channels=values_shape[0], **options)
    return {"name": "dit"} | asdict(built)


def build_dit(model: dict) -> DiT:
    """Return a DiT with initial weights drawn from torch's global generator."""
    return DiT(Architecture(**{k: v for k, v in model.items() if k != "name"}))


def load(arrays: dict[str, np.ndarray], metadata: dict) -> DiT | GaussianMixture | LabelledMixture:
    """Return the network (in evaluation mode, without gradients) or mixture of an artifact."""
    model = metadata["model"]
    if model["name"] == "mixture":
        mixture = load_mixture(arrays)
        if "num_labels" not in model:
            return mixture
        return LabelledMixture(mixture, torch.from_numpy(arrays["labels"]), model["num_labels"])
    net = build_dit(model)
    net.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()}, strict=True)
    return net.eval().requires_grad_(False)


def load_mixture(arrays: dict[str, np.ndarray]) -> GaussianMixture:
    """Return the Gaussian mixture of `weights`, `means` and isotropic `stds`.

    The weights are renormalised to sum to 1.
    """
    weights = torch.from_numpy(arrays["weights"])
    means, stds = torch.from_numpy(arrays["means"]), torch.from_numpy(arrays["stds"])
    eye = torch.eye(means.shape[1], dtype=means.dtype)
    return GaussianMixture(weights / weights.sum(), means, stds[:, None, None].square() * eye)
