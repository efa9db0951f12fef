"""Gates: few experts where the answer is sure, many where it is not.

    w = top-`few`   where  s(p, t) <= threshold     (renormalised)
    w = top-`many`  where  s(p, t) >  threshold     (many = None: all of them, w = p)

    entropy        s = H(p) = -sum_k p_k log p_k                        is the router unsure?
    disagreement   s = 1/2 sum_ij p_i p_j D_ij(t) = tr Cov_p(v) / dim   does it matter?

with D_ij(t) the mean of ||v_i - v_j||^2 / dim over held-out states of the time bin of t. The
second gate asks few where the experts agree, however unsure the router is; D is read from the
pilot, so that no expert is evaluated to find out whether to evaluate it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.ensemble.policies.base import Answer, Carry, Policy, Probs, Uniform
from routing.ensemble.policies.pilot import Pilot, Unbound
from routing.ensemble.policies.subsets import Full, TopK
from routing.flow.paths import Time

Score = Float[Tensor, " batch"]


@dataclass(frozen=True)
class EntropyGated(Policy):
    """Top-`few` where the entropy of p (nats) is at most `threshold`, top-`many` above.

    `many` null is all experts. A threshold of 0 still leaves one-hot p to `few`.
    """

    threshold: float = 0.5
    few: int = 1
    many: int | None = None

    def __post_init__(self):
        _check("entropy_gated", self)

    @property
    def least_experts(self) -> int:
        """The larger of the two numbers."""
        return self.many or self.few

    def score(self, p: Probs, t: Time) -> Score:
        """The entropy in nats."""
        return entropy(p)

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Raises ValueError if there are fewer than `least_experts`."""
        return _gated(self, p, t, u), carry


@dataclass(frozen=True)
class DisagreementGated(Unbound):
    """Top-`few` where the experts' disagreement under p is at most `threshold`, else top-`many`.

    The disagreement is tr Cov_p(v) / dim, the posterior-weighted variance of the velocity per
    dimension, in expectation over the states of a time bin. `many` null is all experts.
    """

    threshold: float = 0.1
    few: int = 1
    many: int | None = None

    wants: ClassVar[frozenset[str]] = frozenset({"disagreement"})

    def __post_init__(self):
        _check("disagreement_gated", self)

    @property
    def least_experts(self) -> int:
        """The larger of the two numbers."""
        return self.many or self.few

    def bound(self, pilot: Pilot) -> "BoundDisagreementGated":
        """With the pilot's disagreement. Raises ValueError if it has none."""
        (disagreement,) = pilot.need("disagreement_gated", "disagreement")
        return BoundDisagreementGated(self.threshold, self.few, self.many, disagreement)


@dataclass(frozen=True, eq=False)
class BoundDisagreementGated(Policy):
    """`DisagreementGated`, knowing by how much the experts disagree."""

    threshold: float
    few: int
    many: int | None
    disagreement: Float[Tensor, "bins experts experts"]

    @property
    def least_experts(self) -> int:
        """The larger of the two numbers."""
        return self.many or self.few

    def score(self, p: Probs, t: Time) -> Score:
        """tr Cov_p(v) / dim at the time bins of `t`."""
        return spread(p, self.disagreement[bin_index(t, len(self.disagreement))])

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Raises ValueError if there are fewer than `least_experts`."""
        return _gated(self, p, t, u), carry


def entropy(p: Probs) -> Score:
    """H(p) = -sum_k p_k log p_k  in nats; 0 log 0 = 0."""
    return torch.special.entr(p).sum(dim=1)


def spread(p: Probs, disagreement: Float[Tensor, "batch experts experts"]) -> Score:
    """1/2 sum_ij p_i p_j D_ij  = tr Cov_p(v) / dim, if  D_ij = ||v_i - v_j||^2 / dim ."""
    # Not by matrix product, whose rounding sees the batch: a gate must decide row by row.
    pairs = p[:, :, None] * p[:, None, :] * disagreement.to(p.dtype)
    return pairs.flatten(1).sum(dim=1) / 2


def bin_index(t: Time, num_bins: int) -> Int[Tensor, " batch"]:
    """The bin of each time among `num_bins` equal parts of [0, 1]; t = 1 is in the last."""
    # In float32, as `reached`: the same bin whatever the precision of the grid of times.
    return (t.float() * num_bins).long().clamp(0, num_bins - 1)


def _gated(gate: EntropyGated | BoundDisagreementGated, p: Probs, t: Time, u: Uniform) -> Probs:
    """The weights of `few` or of `many` experts, by the score of the row."""
    few, _ = TopK(gate.few)(p, t, u, None)
    many, _ = (Full() if gate.many is None else TopK(gate.many))(p, t, u, None)
    return torch.where(gate.score(p, t)[:, None] > gate.threshold, many, few)


def _check(name: str, gate: EntropyGated | DisagreementGated) -> None:
    """Raise ValueError unless  threshold >= 0  and  1 <= few < many ."""
    if not gate.threshold >= 0:
        raise ValueError(f"{name}: threshold must be >= 0, got {gate.threshold}: raise it")
    if gate.few < 1:
        raise ValueError(f"{name}: few must be >= 1, got {gate.few}: raise it")
    if gate.many is not None and gate.many <= gate.few:
        raise ValueError(
            f"{name}: many must be above few={gate.few}, got {gate.many}: raise it, or take top_k"
        )
