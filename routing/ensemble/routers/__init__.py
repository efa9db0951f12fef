"""Routers at inference: sources of the posterior  p[b, k] = p(expert k | x_t[b], t) .

    carry = router.start(x, cluster, condition)        once per trajectory
    p     = router.posterior(x, t, carry)              rows sum to 1
    carry = router.observe(x, t, prediction, carry)    after the ensemble was evaluated at (x_t, t)

    prior              p_k = pi_k, the proportion of the cluster in the data
    uniform            p_k = 1 / K
    oracle_label       p_k = 1 for the true cluster of the sample
    conditional_prior  p_k = p(k | label), by counting training images
    nearest_centroid   p_k ~ pi_k exp(-||f(x_0_hat) - c_k||^2 / (2 temperature^2))
    confidence         p_k ~ p(k | c) prod N(x_s; mu_k(x_t), std^2), over the steps t -> s so far
    density            p_k ~ p(k | c) q_k(x_t), log q_k integrated along the trajectory
    exact              p_k in closed form, where the data are a Gaussian mixture
    (learned)          p = softmax(net(x_t, t)), or net(x_t, t, c), DDM: arXiv:2501.05450

`cluster` and `condition` have one entry per sample, or are None. Routers are pure functions: their
state along a trajectory is the `carry`, whose type only the router knows. They live on the device
of their tensors. A router that needs the outputs of all experts declares it in `reads` and finds
them in the `prediction`; the cost counts these evaluations.

To add a router, write a frozen dataclass that inherits `Router` and a frozen dataclass of its
options that inherits `RouterOptions` and has `build(inputs) -> Router`, and give the latter a row
in ROUTERS.
"""

from routing.ensemble.routers.base import (
    Cluster,
    Prediction,
    Probs,
    Router,
    RouterOptions,
    X,
)
from routing.ensemble.routers.conditional_prior import ConditionalPrior, ConditionalPriorOptions
from routing.ensemble.routers.confidence import Confidence, ConfidenceOptions
from routing.ensemble.routers.density import Density, DensityOptions
from routing.ensemble.routers.exact import Exact, ExactOptions
from routing.ensemble.routers.exact_labelled import ExactLabelled
from routing.ensemble.routers.inputs import RouterInputs
from routing.ensemble.routers.learned import ConditionalLearnedRouter, LearnedRouter
from routing.ensemble.routers.nearest_centroid import NearestCentroid, NearestCentroidOptions
from routing.ensemble.routers.oracle_label import OracleLabel, OracleLabelOptions
from routing.ensemble.routers.prior import Prior, PriorOptions
from routing.ensemble.routers.uniform import Uniform, UniformOptions

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
    "ConditionalLearnedRouter",
    "ConditionalPrior",
    "ConditionalPriorOptions",
    "Confidence",
    "ConfidenceOptions",
    "Density",
    "DensityOptions",
    "Exact",
    "ExactLabelled",
    "ExactOptions",
    "LearnedRouter",
    "NearestCentroid",
    "NearestCentroidOptions",
    "OracleLabel",
    "OracleLabelOptions",
    "Prediction",
    "Prior",
    "PriorOptions",
    "Probs",
    "Router",
    "RouterInputs",
    "RouterOptions",
    "Uniform",
    "UniformOptions",
    "X",
]
