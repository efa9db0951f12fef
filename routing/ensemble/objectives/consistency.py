"""The objective `consistency`: the distance of p from the posterior that the experts imply.

    loss = mean_u Var_k(t u . grad z_k + (1 - t) u . v_k) / dim + weight * prior_chi2

It needs no labels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from routing.ensemble.calibration import time_bins
from routing.ensemble.objectives.base import (
    Batch,
    Logits,
    Loss,
    Network,
    X,
    check_positive,
    require_fields,
)
from routing.flow.paths import Time

NUM_PRIOR_BINS = 10  # of t, in `prior_chi2`
STEP = 0.1  # of the central differences, in the units of x


@dataclass(frozen=True)
class Consistency:
    """The distance of p from the posterior that the experts imply, without labels.

    For exact experts and the exact posterior,  t grad log p_k + (1 - t) (v_k - v) = 0 ,
    v = sum_k p_k v_k. Terms without k, v among them, cancel in differences between experts, so
    a_k = t u . grad z_k + (1 - t) u . v_k  is the same for all k in every direction u. The loss is
    the variance of a_k over k, in the units of G. All pairs of experts have the same weight: with
    weights p, a router that is certain everywhere would have zero loss, right or wrong.

    The identity holds for z_k + c_k(t) with any functions c_k of t. They are determined by the
    mean of the posterior over all states of one t, which is the prior: `weight` times `prior_chi2`
    is added.
    """

    reads: ClassVar[str] = "probe"
    weight: float = 1.0

    def __post_init__(self):
        """Validate the options."""
        check_positive(self, "weight")

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Return the mean variance over experts plus `weight` times `prior_chi2`."""
        u, projections = require_fields(batch, "consistency", "directions", "projections")
        t_of_points = batch.t.repeat(2 * u.shape[1])
        z, slopes = directional_derivatives(lambda x: logits(x, t_of_points), batch.x, u)
        t, dim = batch.t[:, None, None], batch.x[0].numel()
        a = t * slopes + (1 - t) * projections
        variance = a.var(dim=2, correction=0).mean() / dim
        return variance + self.weight * prior_chi2(z.softmax(1), batch.t, batch.prior)


def directional_derivatives(
    logits: Callable[[Tensor], Tensor], x: X, u: Float[Tensor, "batch directions *dims"]
) -> tuple[Logits, Float[Tensor, "batch directions experts"]]:
    """Return z(x) and  u_j . grad z_k(x) , by central differences over 2 STEP along u_j.

    z is the mean over the evaluated points. Both have errors of second order in STEP, 1e-4 of the
    derivative for a router of digits. The cost is two forward passes per direction and one
    backward pass for all. Exact derivatives take a backward pass per expert that must be
    differentiated again, or torch's forward mode, in which the second derivative of layer_norm is
    wrong (pytorch issue 196700).
    """
    num = u.shape[1]
    h = STEP / u.flatten(2).norm(dim=2)
    step = u * h.reshape(*h.shape, *[1] * (u.ndim - 2))
    points = torch.cat([x[:, None] + step, x[:, None] - step], dim=1)
    z = logits(points.transpose(0, 1).flatten(0, 1)).unflatten(0, (2, num, len(x)))
    slopes = (z[0] - z[1]) / (2 * h.T[..., None])
    return z.mean(dim=(0, 1)), slopes.transpose(0, 1)


def prior_chi2(p: Logits, t: Time, prior: Float[Tensor, " experts"]) -> Loss:
    """Return the chi^2 distance of the mean of `p` from the prior, averaged over bins of t.

    sum_k (E p_k - pi_k)^2 / pi_k  is zero only if they are equal, and to second order it is
    2 KL(prior || E p). The square of a mean over few states would also penalise the variance of p
    between them and train routers to be flat. The estimate is therefore unbiased, by products of
    different states only: with r = p - pi

        mean over i != j of  sum_k r_ik r_jk / pi_k ,

    which may be negative by chance. A bin with one state has no pair and contributes 0, so the
    loss of a batch of one state is 0. Raises ValueError if a prior is 0.
    """
    if not (prior > 0).all():
        raise ValueError(
            f"consistency: every prior must be above 0, got {prior.min().item():g}: "
            "leave out the expert of an empty cluster"
        )
    r = (p - prior) / prior.sqrt()
    bins = F.one_hot(time_bins(t, NUM_PRIOR_BINS), NUM_PRIOR_BINS).to(r.dtype)
    count, total = bins.sum(0), bins.T @ r
    pairs = total.square().sum(1) - bins.T @ r.square().sum(1)
    # Each bin is weighted by its number of states, as in a mean over the batch.
    return (pairs / (count - 1).clamp_min(1)).sum() / len(r)
