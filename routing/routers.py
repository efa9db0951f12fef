"""Routers at inference: where the posterior  p[b, k] = p(expert k | x_t[b], t)  comes from.

    carry = router.start(x, cluster)            once per trajectory, cluster [batch] or None
    p     = router.posterior(x, t, carry)       rows sum to 1
    carry = router.observe(x, t, v, carry)      after the ensemble has said v at (x_t, t)

    prior             p_k = pi_k, the share of the cluster in the data
    uniform           p_k = 1 / K
    oracle_label      p_k = 1 for the true cluster of the sample
    nearest_centroid  p_k ~ pi_k exp(-||f(x_0_hat) - c_k||^2 / (2 temperature^2))
    exact             p_k in closed form, where the data are a Gaussian mixture
    (learned)         p = softmax(net(x_t, t)), DDM: McAllister et al. 2025, arXiv:2501.05450

Routers are pure: what they remember of a trajectory is in `carry`, opaque to the caller. They
live where their tensors live. To add one, write a frozen dataclass that inherits `Router`, a
frozen dataclass of its options with `learned` and `bind`, and give the latter a row in ROUTERS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from routing.oracle import Mixture
from routing.paths import Time, x0_from_velocity

X = Float[Tensor, "batch *dims"]
Probs = Float[Tensor, "batch experts"]  # >= 0, rows sum to 1
Cluster = Int[Tensor, " batch"]
Field = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> something per sample


@runtime_checkable
class Router(Protocol):
    """What a router offers. Those that remember nothing inherit all but the posterior."""

    network_calls = 0  # router networks run per sample and posterior

    def start(self, x: X, cluster: Cluster | None) -> Any:
        """The carry at the start of a trajectory from `x`, of samples of the given clusters."""
        return None

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """p(k | x_t, t)."""

    def observe(self, x: X, t: Time, v: X, carry: Any) -> Any:
        """The carry after the ensemble has said `v` at (x_t, t)."""
        return carry


@dataclass(frozen=True, eq=False)
class Prior(Router):
    """The same posterior for all states: the share of each cluster in the data."""

    prior: Float[Tensor, " experts"]

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """p = prior."""
        return self.prior.to(x.dtype).repeat(len(x), 1)


@dataclass(frozen=True)
class Uniform(Router):
    """All experts alike."""

    num_experts: int

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """p = 1 / num_experts."""
        return x.new_full((len(x), self.num_experts), 1 / self.num_experts)


@dataclass(frozen=True)
class OracleLabel(Router):
    """The cluster that the sample is meant to be from, known from outside."""

    num_experts: int

    def start(self, x: X, cluster: Cluster | None) -> Cluster:
        """The clusters. Raises ValueError if there are none."""
        if cluster is None:
            raise ValueError("oracle_label needs every sample's cluster, got none: give them")
        return cluster

    def posterior(self, x: X, t: Time, carry: Cluster) -> Probs:
        """One-hot rows."""
        return one_hot(carry.long(), self.num_experts).to(x.dtype)


@dataclass(frozen=True, eq=False)
class NearestCentroid(Router):
    """Clusters by their distance from the predicted clean sample, in feature space.

        p_k ~ prior_k exp(-||f(x_0_hat) - c_k||^2 / (2 temperature^2)) ,  x_0_hat = x_t - t v

    where f is `encode`, and v is what the ensemble said at the call before: x_0_hat costs no
    evaluation. At the first call there is none, and p is the prior.

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

    def observe(self, x: X, t: Time, v: X, carry: X | None) -> X:
        """The predicted clean sample."""
        return x0_from_velocity(x, v, t)


@dataclass(frozen=True, eq=False)
class Network(Router):
    """A learned router: softmax of the logits of a network."""

    net: Field  # (x_t, t) -> logits [batch experts]
    network_calls: ClassVar[int] = 1

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """p = softmax(net(x_t, t))."""
        return self.net(x, t).softmax(dim=1)


@dataclass(frozen=True, eq=False)
class Exact(Router):
    """The closed-form posterior of a Gaussian mixture whose components belong to clusters."""

    mixture: Mixture
    cluster_of_component: Int[Tensor, " components"]
    num_experts: int

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """The sum of the posteriors of each cluster's components."""
        return self.mixture.cluster_posterior(x, t, self.cluster_of_component, self.num_experts)


@dataclass(frozen=True, eq=False)
class Materials:
    """What a router may be made of. Raises ValueError unless the prior is >= 0 and sums to 1."""

    prior: Float[Tensor, " experts"]
    centroids: Float[Tensor, "experts features"] | None = None
    encode: Callable[[Tensor], Tensor] | None = None
    network: Field | None = None
    mixture: Mixture | None = None
    cluster_of_component: Int[Tensor, " components"] | None = None

    def __post_init__(self):
        total = self.prior.sum().item()
        if not (self.prior >= 0).all() or abs(total - 1) > 1e-5:
            raise ValueError(
                f"prior must be >= 0 and sum to 1, got {self.prior.tolist()}: divide by {total:g}"
            )

    def need(self, router: str, *names: str) -> tuple:
        """The materials of these names. Raises ValueError for `router` if one is missing."""
        for name in names:
            if getattr(self, name) is None:
                raise ValueError(f"{router} needs {name}, got none: choose another router")
        return tuple(getattr(self, name) for name in names)


@dataclass(frozen=True)
class PriorOptions:
    """The share of each cluster in the data, whatever the state."""

    learned: ClassVar[bool] = False

    def bind(self, materials: Materials) -> Prior:
        """The router."""
        return Prior(materials.prior)


@dataclass(frozen=True)
class UniformOptions:
    """All experts alike, whatever the state."""

    learned: ClassVar[bool] = False

    def bind(self, materials: Materials) -> Uniform:
        """The router."""
        return Uniform(len(materials.prior))


@dataclass(frozen=True)
class OracleLabelOptions:
    """The cluster that the sample is meant to be from."""

    learned: ClassVar[bool] = False

    def bind(self, materials: Materials) -> OracleLabel:
        """The router."""
        return OracleLabel(len(materials.prior))


@dataclass(frozen=True)
class NearestCentroidOptions:
    """Distance of the predicted clean sample from the centroids; `temperature` is a length."""

    temperature: float = 1.0
    learned: ClassVar[bool] = False

    def __post_init__(self):
        if not self.temperature > 0:
            got = self.temperature
            raise ValueError(f"nearest_centroid: temperature must be > 0, got {got}: raise it")

    def bind(self, materials: Materials) -> NearestCentroid:
        """The router. Raises ValueError without encoder or centroids."""
        encode, centroids = materials.need("nearest_centroid", "encode", "centroids")
        return NearestCentroid(encode, centroids, materials.prior, self.temperature)


@dataclass(frozen=True)
class ExactOptions:
    """The closed-form posterior, in a world that has one."""

    learned: ClassVar[bool] = False

    def bind(self, materials: Materials) -> Exact:
        """The router. Raises ValueError without the mixture and its clusters."""
        mixture, cluster = materials.need("exact", "mixture", "cluster_of_component")
        return Exact(mixture, cluster, len(materials.prior))


ROUTERS: dict[str, type] = {
    "prior": PriorOptions,
    "uniform": UniformOptions,
    "oracle_label": OracleLabelOptions,
    "nearest_centroid": NearestCentroidOptions,
    "exact": ExactOptions,
}
