"""The policy `top_k`: the k most probable experts, renormalised.

w_j = p_j / sum_{i in S} p_i   for j in S, else 0 ,   S the k experts of largest p
"""

from dataclasses import dataclass

import torch

from routing.ensemble.policies.base import Carry, Policy, Probs, Uniform, WeightsAndCarry
from routing.ensemble.ranking import ranking, renormalised
from routing.flow.paths import Time


@dataclass(frozen=True)
class TopK(Policy):
    """The k most probable experts, renormalised. Ties go to the lower expert index."""

    k: int = 1

    def __post_init__(self):
        """Validate the options."""
        if self.k < 1:
            raise ValueError(f"top_k: k must be >= 1, got k={self.k}: raise it")

    @property
    def min_experts(self) -> int:
        """k."""
        return self.k

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return weights on k experts. Raises ValueError if there are fewer than k experts."""
        if self.k > p.shape[1]:
            raise ValueError(f"top_k: k must be in 1..{p.shape[1]}, got k={self.k}: lower it")
        chosen = torch.zeros_like(p, dtype=torch.bool)
        return renormalised(p, chosen.scatter(1, ranking(p)[:, : self.k], True)), carry
