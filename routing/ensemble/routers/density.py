"""The router `density`: the log-density of every expert, integrated along the trajectory.

The density of expert k changes by  dq_k/dt = -div(q_k v_k) . Divided by q_k, at a fixed point

    d log q_k / dt = -div v_k - s_k . v_k ,   s_k = grad log q_k = -(x + (1 - t) v_k) / t

so that along any path of samples

    d log q_k(x_t, t) = (-div v_k - s_k . v_k) dt + s_k . dx

and along the ODE, dx = v dt, it is  -div v_k + s_k . (v - v_k)  per unit of t (SuperDiff:
Skreta et al., ICLR 2025, arXiv:2412.17762). At t = 1 all q_k are the same normal density. Bayes'
rule gives  p_k ~ p(k | c) q_k(x_t) ; with a condition c, q_k and v_k are conditional too.

The form in dx is an exact differential. It is integrated along the states at which the experts
were evaluated, which include the solver's corrections (the second call of a Heun step starts from
another state than the first one ends at), guidance and noise.

`observe` integrates by the trapezoidal rule between successive calls. `posterior` does not know
the derivatives at x yet and uses those at the start of the last step. On a smooth path both errors
of p are of second order in the step. SuperDiff's estimate without divergence is not used: it holds
along the SDE only, for which there is the router `confidence`.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from routing.ensemble.routers.base import Cluster, Prediction, Probs, Router, RouterOptions, X
from routing.ensemble.routers.conditional_prior import prior_given_condition
from routing.ensemble.routers.inputs import RouterInputs
from routing.flow.conditions import Condition
from routing.flow.paths import Time, append_dims, score_from_velocity


@dataclass(frozen=True, eq=False)
class DensityCarry:
    """log p_k at the last call, up to a constant, and the derivatives of log q_k there, if any."""

    log_p: Float64[Tensor, "batch experts"]
    x: Float[Tensor, "batch *dims"] | None = None
    t: Time | None = None
    rate: Float[Tensor, "batch experts"] | None = None  # d log q_k / dt at a fixed point
    score: Float[Tensor, "batch experts *dims"] | None = None  # s_k = grad log q_k


@dataclass(frozen=True, eq=False)
class Density(Router):
    """p_k ~ p(k | c) q_k(x_t), with log q_k integrated from t = 1, where trajectories start.

    At t = 0 the score cannot be computed from the velocity (0 / 0): a step that ends there uses
    the derivatives at its start. Without `label_counts` (numbers of training images) the prior is
    used for p(k | c), which is right for unconditional samples.
    """

    prior: Float[Tensor, " experts"]
    label_counts: Int[Tensor, "experts labels"] | None = None
    reads: ClassVar[str] = "divergences"

    def start(
        self, x: X, cluster: Cluster | None, condition: Condition | None = None
    ) -> DensityCarry:
        """Return the carry with p(k | c).

        Raises ValueError if there are label counts and the condition has no label.
        """
        p = prior_given_condition(condition, self.prior, self.label_counts, x)
        return DensityCarry(p.double().log())

    def posterior(self, x: X, t: Time, carry: DensityCarry) -> Probs:
        """Return p, at the first call p(k | c)."""
        log_p = carry.log_p
        if carry.x is not None:
            log_p = log_p + _log_density_gain(carry, x, t, carry.rate, carry.score)
        return log_p.softmax(dim=1).to(x.dtype)

    def observe(self, x: X, t: Time, prediction: Prediction, carry: DensityCarry) -> DensityCarry:
        """Return the derivatives at x, and log p_k by the trapezoidal rule since the last call."""
        assert prediction.divergences is not None, "this router reads divergences"
        v = prediction.velocities
        score = score_from_velocity(x[:, None].expand_as(v), v, t)
        rate = -prediction.divergences - (score * v).flatten(2).sum(dim=2)
        if carry.x is None:
            return DensityCarry(carry.log_p, x, t, rate, score)
        rate = torch.where(t[:, None] > 0, rate, carry.rate)
        score = torch.where(append_dims(t, score) > 0, score, carry.score)
        means = (carry.rate + rate) / 2, (carry.score + score) / 2
        log_p = carry.log_p + _log_density_gain(carry, x, t, *means)
        return DensityCarry(log_p, x, t, rate, score)


def _log_density_gain(
    carry: DensityCarry,
    x: X,
    t: Time,
    rate: Float[Tensor, "batch experts"],
    score: Float[Tensor, "batch experts *dims"],
) -> Float64[Tensor, "batch experts"]:
    """Return the change of log q_k on the straight line from the last call to (x, t)."""
    by_space = (score * (x - carry.x)[:, None]).flatten(2).sum(dim=2, dtype=torch.float64)
    return rate.double() * (t - carry.t)[:, None].double() + by_space


@dataclass(frozen=True)
class DensityOptions(RouterOptions):
    """The log-density of every expert along the trajectory; needs the experts' divergences."""

    uses_label_counts: ClassVar[bool] = True

    def build(self, inputs: RouterInputs) -> Density:
        """Return the router."""
        return Density(inputs.prior, inputs.label_counts)
