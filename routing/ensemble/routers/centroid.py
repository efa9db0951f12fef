"""Clusters by the distance of their centroids from the predicted clean sample.

    p_k ~ prior_k exp(-||f(x_0_hat) - c_k||^2 / (2 temperature^2)) ,   x_0_hat = x_t - t v

with f the encoder that made the partition and v what the samples followed at the call before.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from routing.ensemble.routers.fixed import Prior
from routing.ensemble.routers.materials import Materials
from routing.ensemble.routers.protocol import Options, Probs, Router, Said, X
from routing.flow.paths import Time, x0_from_velocity


@dataclass(frozen=True, eq=False)
class NearestCentroid(Router):
    """Clusters by their distance from the predicted clean sample, in feature space.

    x_0_hat is made of what was said at the call before, and costs no evaluation. At the first
    call there is none, and p is the prior.

    Not the posterior, even with perfect experts: x_0_hat is the mean of x_0 given x_t over what
    clusters w asks, near t = 1 the mean of them all whatever x_t is. The spread of x_0 about it,
    which depends on t, is not in `temperature`, a length in units of the features that takes
    every cluster for a ball of this radius at all times. And x_0_hat is one call old.
    """

    encode: Callable[[Tensor], Tensor]  # x_0 [batch *dims] -> [batch features]
    centroids: Float[Tensor, "experts features"]
    prior: Float[Tensor, " experts"]
    temperature: float

    def posterior(self, x: X, t: Time, carry: X | None) -> Probs:
        """From the prediction in `carry`; the prior if there is none yet."""
        if carry is None:
            return Prior(self.prior).posterior(x, t, None)
        # Not by matrix product: |a|^2 + |b|^2 - 2 ab cancels, and its rounding sees the batch.
        features, exact = self.encode(carry), "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(features, self.centroids.to(features.dtype), compute_mode=exact)
        logits = self.prior.log() - (distance / self.temperature).square() / 2
        return logits.softmax(dim=1).to(x.dtype)

    def observe(self, x: X, t: Time, said: Said, carry: X | None) -> X:
        """The predicted clean sample."""
        return x0_from_velocity(x, said.v, t)


@dataclass(frozen=True)
class NearestCentroidOptions(Options):
    """Distance of the predicted clean sample from the centroids; `temperature` is a length."""

    temperature: float = 1.0

    def __post_init__(self):
        if not self.temperature > 0:
            got = self.temperature
            raise ValueError(f"nearest_centroid: temperature must be > 0, got {got}: raise it")

    def bind(self, materials: Materials) -> NearestCentroid:
        """The router. Raises ValueError without encoder or centroids."""
        encode, centroids = materials.need("nearest_centroid", "encode", "centroids")
        return NearestCentroid(encode, centroids, materials.prior, self.temperature)
