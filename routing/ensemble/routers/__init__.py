"""Routers at inference: where the posterior  p[b, k] = p(expert k | x_t[b], t)  comes from.

    carry = router.start(x, cluster, condition)    once per trajectory, both [batch] or None
    p     = router.posterior(x, t, carry)          rows sum to 1
    carry = router.observe(x, t, said, carry)      after the ensemble has spoken at (x_t, t)

    prior              p_k = pi_k, the share of the cluster in the data
    uniform            p_k = 1 / K
    oracle_label       p_k = 1 for the true cluster of the sample
    conditional_prior  p_k = p(k | label), by counting training images
    nearest_centroid   p_k ~ pi_k exp(-||f(x_0_hat) - c_k||^2 / (2 temperature^2))
    confidence         p_k ~ p(k | c) prod N(x_s; mu_k(x_t), std^2), over the steps t -> s so far
    density            p_k ~ p(k | c) q_k(x_t), log q_k integrated along the trajectory
    exact              p_k in closed form, where the data are a Gaussian mixture
    (learned)          p = softmax(net(x_t, t)), c too if told, DDM: arXiv:2501.05450

Routers are pure: what they remember of a trajectory is in `carry`, opaque to the caller. They
live where their tensors live. One that must know what all experts say declares it in `reads`, is
told it in `said`, and the bill pays for it. To add one, write a frozen dataclass that inherits
`Router`, a frozen dataclass of its options that inherits `Options` and has
`bind(materials) -> Router`, and give the latter a row in ROUTERS.
"""

from routing.ensemble.routers.centroid import NearestCentroid, NearestCentroidOptions
from routing.ensemble.routers.confidence import Confidence, ConfidenceOptions
from routing.ensemble.routers.density import Density, DensityOptions
from routing.ensemble.routers.exact import Exact, ExactOptions
from routing.ensemble.routers.fixed import (
    ConditionalPrior,
    ConditionalPriorOptions,
    OracleLabel,
    OracleLabelOptions,
    Prior,
    PriorOptions,
    Uniform,
    UniformOptions,
)
from routing.ensemble.routers.labelled import ExactLabelled
from routing.ensemble.routers.materials import Field, Materials
from routing.ensemble.routers.network import ConditionalNetwork, Network
from routing.ensemble.routers.protocol import Cluster, Options, Probs, Router, Said, X

ROUTERS: dict[str, type] = {
    "prior": PriorOptions,
    "uniform": UniformOptions,
    "oracle_label": OracleLabelOptions,
    "conditional_prior": ConditionalPriorOptions,
    "nearest_centroid": NearestCentroidOptions,
    "confidence": ConfidenceOptions,
    "density": DensityOptions,
    "exact": ExactOptions,
}
__all__ = [
    "ROUTERS",
    "Cluster",
    "Confidence",
    "ConfidenceOptions",
    "ConditionalNetwork",
    "ConditionalPrior",
    "ConditionalPriorOptions",
    "Density",
    "DensityOptions",
    "Exact",
    "ExactLabelled",
    "ExactOptions",
    "Field",
    "Materials",
    "NearestCentroid",
    "NearestCentroidOptions",
    "Network",
    "Options",
    "OracleLabel",
    "OracleLabelOptions",
    "Prior",
    "PriorOptions",
    "Probs",
    "Router",
    "Said",
    "Uniform",
    "UniformOptions",
    "X",
]
