"""A small classifier whose penultimate units are image features, for data without a published one.

Two 3x3 convolutions, a pooling, a third convolution, then `dim` units and the class logits.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class ClassifierShape:
    """The options that determine the parameters of a `Classifier`."""

    channels: int
    size: int
    width: int
    dim: int
    num_classes: int

    def metadata(self) -> dict:
        """Return the entry `model` of the metadata of its weights."""
        return {"name": "classifier"} | asdict(self)


class Classifier(nn.Module):
    """Maps images in [-1, 1] to (logits, features)."""

    def __init__(self, shape: ClassifierShape):
        """Draw the initial weights from torch's global generator."""
        super().__init__()
        self.first = nn.Conv2d(shape.channels, shape.width, 3, padding=1)
        self.second = nn.Conv2d(shape.width, shape.width, 3, padding=1)
        self.third = nn.Conv2d(shape.width, 2 * shape.width, 3, padding=1)
        self.units = nn.Linear(2 * shape.width * (shape.size // 2) ** 2, shape.dim)
        self.head = nn.Linear(shape.dim, shape.num_classes)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch dim"]]:
        """Return class logits, and the non-negative features that they are linear in."""
        z = F.relu(self.second(F.relu(self.first(x))))
        z = F.relu(self.third(F.max_pool2d(z, 2)))
        features = F.relu(self.units(z.flatten(1)))
        return self.head(features), features

    @staticmethod
    def from_arrays(shape: ClassifierShape, arrays: dict[str, np.ndarray]) -> "Classifier":
        """Return the network with stored weights, in evaluation mode and without gradients."""
        net = Classifier(shape)
        net.load_state_dict({k: torch.from_numpy(a) for k, a in arrays.items()}, strict=True)
        return net.eval().requires_grad_(False)


def logits_and_features(
    net: Classifier, x: Float[Tensor, "batch channels height width"], batch_size: int = 500
) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch dim"]]:
    """Apply `net` in batches of `batch_size`, which bounds the memory."""
    parts = [net(piece) for piece in x.split(batch_size)]
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
