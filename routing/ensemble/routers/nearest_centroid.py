"""The router `nearest_centroid`: clusters by distance from the predicted clean sample.

    p_k ~ prior_k exp(-||f(x_0_hat) - c_k||^2 / (2 temperature^2)) ,   x_0_hat = x_t - t v

with f the encoder of the partition and v the velocity that the samples followed at the last call.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from routing.ensemble.routers.base import Prediction, Probs, Router, RouterOptions, X
from routing.ensemble.routers.inputs import RouterInputs
from routing.ensemble.routers.prior import Prior
from routing.flow.paths import Time, x0_from_velocity


@dataclass(frozen=True, eq=False)
class NearestCentroid(Router):
    """Clusters by their distance from the predicted clean sample, in feature space.

    x_0_hat is computed from the velocity of the call before and costs no expert evaluation. At the
    first call there is none, and p is the prior.

    p is not the posterior, even with exact experts. x_0_hat is the mean of x_0 given x_t over the
    clusters with weight; near t = 1 it is the mean of all of them for any x_t. The variance of
    x_0 about it depends on t, but `temperature`, a length in feature space, does not: it is the
    standard deviation of every cluster at all times. And x_0_hat is one call old.
    """

    encode: Callable[[Tensor], Tensor]  # x_0 [batch *dims] -> [batch features]
    centroids: Float[Tensor, "experts features"]
    prior: Float[Tensor, " experts"]
    temperature: float

    def posterior(self, x: X, t: Time, carry: X | None) -> Probs:
        """Return p from the x_0_hat in `carry`, or the prior if there is none yet."""
        if carry is None:
            return Prior(self.prior).posterior(x, t, None)
        # Not by matrix product: |a|^2 + |b|^2 - 2 ab cancels, with rounding that sees the batch.
        features, exact = self.encode(carry), "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(features, self.centroids.to(features.dtype), compute_mode=exact)
        logits = self.prior.log() - (distance / self.temperature).square() / 2
        return logits.softmax(dim=1).to(x.dtype)

    def observe(self, x: X, t: Time, prediction: Prediction, carry: X | None) -> X:
        """Return the predicted clean sample x_0_hat."""
        return x0_from_velocity(x, prediction.v, t)


@dataclass(frozen=True)
class NearestCentroidOptions(RouterOptions):
    """Distance of the predicted clean sample from the centroids; `temperature` is a length."""

    temperature: float = 1.0

    def __post_init__(self):
        """Validate the options."""
        if not self.temperature > 0:
            got = self.temperature
            raise ValueError(f"nearest_centroid: temperature must be > 0, got {got}: raise it")

    def build(self, inputs: RouterInputs) -> NearestCentroid:
        """Return the router. Raises ValueError without encoder or centroids."""
        encode, centroids = inputs.require("nearest_centroid", "encode", "centroids")
        return NearestCentroid(encode, centroids, inputs.prior, self.temperature)
