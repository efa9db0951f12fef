"""The objective without labels: p must be the posterior that the experts themselves imply."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from routing.ensemble.calibration import time_bins
from routing.ensemble.objectives.base import Batch, Logits, Loss, Network, X, positive, read
from routing.flow.paths import Time

MOMENT_BINS = 10
STEP = 0.1  # in the units of x


@dataclass(frozen=True)
class Consistency:
    """How far p is from the posterior that the experts themselves imply: without labels.

    For exact experts and the exact posterior,  t grad log p_k + (1 - t) (v_k - v) = 0 ,
    v = sum_k p_k v_k. All that does not depend on k drops out of differences between experts,
    v with it, so  a_k = t u . grad z_k + (1 - t) u . v_k  is the same for all k in every
    direction u. The loss is the variance of a_k over k, in the units of G. All pairs of experts
    count alike: weighed by p, a router that is sure everywhere, of anything, would have no loss.

    The identity leaves open a function of t alone per expert, z_k + c_k(t). The mean of the
    posterior over all states of one t is the prior, and fixes it: `moments`, times `weight`.
    """

    reads: ClassVar[str] = "probe"
    weight: float = 1.0

    def __post_init__(self):
        positive(self, "weight")

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Mean of the variance over experts, and `weight` times the moments."""
        u, projections = read(batch, "consistency", "directions", "projections")
        t_of_points = batch.t.repeat(2 * u.shape[1])
        z, slopes = directional(lambda x: logits(x, t_of_points), batch.x, u)
        t, dim = batch.t[:, None, None], batch.x[0].numel()
        a = t * slopes + (1 - t) * projections
        variance = a.var(dim=2, correction=0).mean() / dim
        return variance + self.weight * moments(z.softmax(1), batch.t, batch.prior)


def directional(
    logits: Callable[[Tensor], Tensor], x: X, u: Float[Tensor, "batch directions *dims"]
) -> tuple[Logits, Float[Tensor, "batch directions experts"]]:
    """z(x) and  u_j . grad z_k(x) , by central differences over a distance of 2 STEP along u_j.

    z is the mean over the points asked; both are off by the second order in STEP, 1e-4 of the
    slope for a router of digits. Two forward passes per direction, and one backward pass for
    them all: exact slopes take a backward pass per expert that must be differentiated again,
    and torch's forward mode, which would need one, has a wrong second derivative of layer_norm
    (pytorch issue 196700).
    """
    num = u.shape[1]
    h = STEP / u.flatten(2).norm(dim=2)
    step = u * h.reshape(*h.shape, *[1] * (u.ndim - 2))
    points = torch.cat([x[:, None] + step, x[:, None] - step], dim=1)
    z = logits(points.transpose(0, 1).flatten(0, 1)).unflatten(0, (2, num, len(x)))
    slopes = (z[0] - z[1]) / (2 * h.T[..., None])
    return z.mean(dim=(0, 1)), slopes.transpose(0, 1)


def moments(p: Logits, t: Time, prior: Float[Tensor, " experts"]) -> Loss:
    """chi^2 distance of the mean of `p` from the prior, without bias, averaged over bins of t.

    sum_k (E p_k - pi_k)^2 / pi_k  is zero only where they agree, and to second order it is
    2 KL(prior || E p). Squaring the mean of a few states would also punish how p varies among
    them, and teach flat routers. So only products of different states count: with r = p - pi

        mean over i != j of  sum_k r_ik r_jk / pi_k ,

    which may be negative by chance. A bin with one state has no pair and says nothing, so for a
    batch of one state the loss is 0. ValueError if a prior is 0.
    """
    if not (prior > 0).all():
        raise ValueError(
            f"moments: every prior must be above 0, got {prior.min().item():g}: "
            "leave out the expert of an empty cluster"
        )
    r = (p - prior) / prior.sqrt()
    bins = F.one_hot(time_bins(t, MOMENT_BINS), MOMENT_BINS).to(r.dtype)
    count, total = bins.sum(0), bins.T @ r
    pairs = total.square().sum(1) - bins.T @ r.square().sum(1)
    # Weighed by their states, as a mean over the batch would be.
    return (pairs / (count - 1).clamp_min(1)).sum() / len(r)
