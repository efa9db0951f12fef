"""What the gated policies share: few experts where a score is low, many where it is high.

    w = top-`few`   where  score(p, t) <= threshold     (renormalised)
    w = top-`many`  where  score(p, t) >  threshold     (many = None: all experts, w = p)

The score of `entropy_gated` is the uncertainty of the router. The score of `disagreement_gated`
is the variance of the velocity between experts: how much the choice of experts matters.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from routing.ensemble.policies.base import Probs, Uniform
from routing.ensemble.policies.full import Full
from routing.ensemble.policies.top_k import TopK
from routing.flow.paths import Time

Score = Float[Tensor, " batch"]


@runtime_checkable
class GateOptions(Protocol):
    """The options of a gated policy."""

    threshold: float
    few: int
    many: int | None


def gated_weights(gate: GateOptions, score: Score, p: Probs, t: Time, u: Uniform) -> Probs:
    """Return weights of the top `few` experts where score <= threshold, else of the top `many`."""
    few, _ = TopK(gate.few)(p, t, u, None)
    many, _ = (Full() if gate.many is None else TopK(gate.many))(p, t, u, None)
    return torch.where(score[:, None] > gate.threshold, many, few)


def check_gate(name: str, gate: GateOptions) -> None:
    """Raise ValueError unless  threshold >= 0  and  1 <= few < many ."""
    if not gate.threshold >= 0:
        raise ValueError(f"{name}: threshold must be >= 0, got {gate.threshold}: raise it")
    if gate.few < 1:
        raise ValueError(f"{name}: few must be >= 1, got {gate.few}: raise it")
    if gate.many is not None and gate.many <= gate.few:
        raise ValueError(
            f"{name}: many must be above few={gate.few}, got {gate.many}: raise it, or take top_k"
        )
