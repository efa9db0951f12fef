"""Copies: how near samples are to the training images, beside how near other real images are.

With d_i = min_t |x_i - y_t| the distance of sample i to the nearest training image, t_i that
image (of equals the first), h_j the same distance of held-out image j, and o_t the distance of
training image t to the nearest other one,

    copy ratio    R = (sum_i w_i d_i / sum_i w_i) / mean_j h_j          0: all are copies
    authenticity  A = sum_i w_i [ d_i > o_{t_i} ] / sum_i w_i           in [0, 1]; 0: all are

R of as many new real images scatters around 1; well below 1 is suspicious. A counts samples that
are further from their training image than another training image is; there is no value that it
should have, so compare it with that of held-out images. Both fall with the size of the training
set: compare at one training set. A sample far from all data raises both: no measures of quality.

Source: A is AuthPct of Alaa et al. 2022, arXiv:2102.08921, as a share. Diagnostics, not tests:
Stein et al. 2023, arXiv:2306.04675, find that no such number detects memorisation reliably.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from routing.checks import reference_features, weighted_samples
from routing.distances import nearest


@dataclass(frozen=True)
class CopyReference:
    """The training images as they were given, and what samples are compared with; float64."""

    points: Float[Tensor, "train dim"]
    own_distance: Float[Tensor, " train"]  # to the nearest other training image
    heldout_distance: Float[Tensor, " heldout"]  # to the nearest training image

    @classmethod
    def fit(
        cls,
        train: Float[Tensor, "train dim"],
        heldout: Float[Tensor, "heldout dim"],
        block: int = 512,
    ) -> "CopyReference":
        """ValueError on fewer than 2 and 1 rows, rows not finite, or nothing new held out."""
        reference_features(train, at_least=2)
        everyone = torch.ones(1, len(heldout), device=heldout.device)
        h, _ = weighted_samples(heldout, everyone, train.shape[1], at_least=1)
        heldout_distance = nearest_distances(h, train, block)
        if not heldout_distance.any():
            raise ValueError(
                f"held-out images: wanted one at least that is no training image, got {len(h)} "
                "that all are; split the data anew"
            )
        itself = torch.arange(len(train), device=train.device)
        own = nearest(train, train, 1, block, own=itself)[0][:, 0]
        return cls(train, own, heldout_distance)


@dataclass(frozen=True)
class Copies:
    """Every sample beside the training images; what the metrics are means of."""

    distance: Float[Tensor, " samples"]  # to the nearest training image
    is_authentic: Bool[Tensor, " samples"]  # further than another training image is from that
    weights: Float[Tensor, "replicates samples"]
    heldout_mean: Float[Tensor, ""]

    def metrics(self) -> dict[str, Float[Tensor, " replicates"]]:
        """R and A of every replicate; float64."""
        w, n = self.weights, self.weights.sum(dim=1)
        return {
            "copy_ratio": w @ self.distance / n / self.heldout_mean,
            "authenticity": w @ self.is_authentic.double() / n,
        }


def copies(
    samples: Float[Tensor, "samples dim"],
    reference: CopyReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> Copies:
    """`block` samples are compared at a time; the result does not depend on it.

    ValueErrors: checks.py.
    """
    x, w = weighted_samples(samples, weights, reference.points.shape[1], at_least=1)
    d, index = nearest(x, reference.points, 1, block)
    is_authentic = d[:, 0] > reference.own_distance[index[:, 0]]
    return Copies(d[:, 0], is_authentic, w, reference.heldout_distance.mean())


def copy_metrics(
    samples: Float[Tensor, "samples dim"],
    reference: CopyReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> dict[str, Float[Tensor, " replicates"]]:
    """R and A of every replicate, by name; float64. As `copies`."""
    return copies(samples, reference, weights, block).metrics()


def nearest_distances(
    x: Float[Tensor, "samples dim"], y: Float[Tensor, "train dim"], block: int = 512
) -> Float[Tensor, " samples"]:
    """d_i: to the nearest y of every x; float64."""
    return nearest(x, y, 1, block)[0][:, 0]
