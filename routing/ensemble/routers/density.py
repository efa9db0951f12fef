"""Density tracking: the log-density of every expert, integrated along the trajectory.

Expert k moves its own density by  dq_k/dt = -div(q_k v_k) . Divided by q_k, at a fixed point

    d log q_k / dt = -div v_k - s_k . v_k ,   s_k = grad log q_k = -(x + (1 - t) v_k) / t

so that along any path of samples

    d log q_k(x_t, t) = (-div v_k - s_k . v_k) dt + s_k . dx

and along the ODE, dx = v dt, it is  -div v_k + s_k . (v - v_k)  per unit of t (SuperDiff:
Skreta et al., ICLR 2025, arXiv:2412.17762). At t = 1 all q_k are the same normal; Bayes' rule
makes  p_k ~ p(k | c) q_k(x_t) , where q_k and v_k are given the condition c too, if there is one.

The form in dx is an exact differential, and what is integrated is the path of the states that
experts were asked about: corrections of the solver (the second call of a Heun step leaves from
where the first has not been), guidance and noise included.

`observe` integrates by the trapezoidal rule between successive calls; `posterior`, which cannot
know the slopes at x yet, takes the last step by those at its start. On a smooth path both errors
of p are of second order in the step. Not taken: SuperDiff's estimate without divergence,
which holds along the SDE alone (there, `confidence` does the like).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from routing.ensemble.routers.fixed import prior_given
from routing.ensemble.routers.materials import Materials
from routing.ensemble.routers.protocol import Cluster, Options, Probs, Router, Said, X
from routing.flow.conditions import Condition
from routing.flow.paths import Time, along, score_from_velocity


@dataclass(frozen=True, eq=False)
class Tracked:
    """log p_k at the last call, up to a constant, and the slopes of log q_k there, if any."""

    log_p: Float64[Tensor, "batch experts"]
    x: Float[Tensor, "batch *dims"] | None = None
    t: Time | None = None
    in_time: Float[Tensor, "batch experts"] | None = None  # d log q_k / dt at a fixed point
    in_space: Float[Tensor, "batch experts *dims"] | None = None  # the score s_k


@dataclass(frozen=True, eq=False)
class Density(Router):
    """p_k ~ p(k | c) q_k(x_t), with log q_k integrated from t = 1, where trajectories start.

    At t = 0 the velocity no longer holds the score (0 / 0): a step that ends there keeps the
    slopes of its start. Without `label_counts` (numbers of training images) the prior stands for
    p(k | c), which is right where nothing is asked for.
    """

    prior: Float[Tensor, " experts"]
    label_counts: Int[Tensor, "experts labels"] | None = None
    reads: ClassVar[str] = "divergences"

    def start(self, x: X, cluster: Cluster | None, condition: Condition | None = None) -> Tracked:
        """p(k | c). Raises ValueError if the condition has no label and labels are counted."""
        p = prior_given(condition, self.prior, self.label_counts, x)
        return Tracked(p.double().log())

    def posterior(self, x: X, t: Time, carry: Tracked) -> Probs:
        """p(k | c) at first."""
        log_p = carry.log_p
        if carry.x is not None:
            log_p = log_p + _gain(carry, x, t, carry.in_time, carry.in_space)
        return log_p.softmax(dim=1).to(x.dtype)

    def observe(self, x: X, t: Time, said: Said, carry: Tracked) -> Tracked:
        """The slopes here, and log p_k by the trapezoidal rule from the call before."""
        assert said.divergences is not None, "this router reads divergences"
        v = said.velocities
        score = score_from_velocity(x[:, None].expand_as(v), v, t)
        rate = -said.divergences - (score * v).flatten(2).sum(dim=2)
        if carry.x is None:
            return Tracked(carry.log_p, x, t, rate, score)
        rate = torch.where(t[:, None] > 0, rate, carry.in_time)
        score = torch.where(along(t, score) > 0, score, carry.in_space)
        slopes = (carry.in_time + rate) / 2, (carry.in_space + score) / 2
        return Tracked(carry.log_p + _gain(carry, x, t, *slopes), x, t, rate, score)


def _gain(
    carry: Tracked,
    x: X,
    t: Time,
    in_time: Float[Tensor, "batch experts"],
    in_space: Float[Tensor, "batch experts *dims"],
) -> Float64[Tensor, "batch experts"]:
    """What the straight way from the call before to (x, t) adds to log q_k, by these slopes."""
    moved = (in_space * (x - carry.x)[:, None]).flatten(2).sum(dim=2, dtype=torch.float64)
    return in_time.double() * (t - carry.t)[:, None].double() + moved


@dataclass(frozen=True)
class DensityOptions(Options):
    """The log-density of every expert along the trajectory; experts are differentiated."""

    counts_labels: ClassVar[bool] = True

    def bind(self, materials: Materials) -> Density:
        """The router."""
        return Density(materials.prior, materials.label_counts)
