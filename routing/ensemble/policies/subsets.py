"""The most probable experts: all of them, k of them, or those that hold or reach a probability.

    w_k = p_k / sum_{j in S} p_j   for k in S, else 0

with S a set of experts chosen by p alone, that always holds the most probable one.
"""

from dataclasses import dataclass

import torch

from routing.ensemble.policies.base import Answer, Carry, Policy, Probs, Uniform
from routing.ensemble.ranking import ranking, renormalised
from routing.flow.paths import Time


@dataclass(frozen=True)
class Full(Policy):
    """All experts, w = p."""

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """As it came."""
        return p, carry


@dataclass(frozen=True)
class TopK(Policy):
    """The k most probable experts, renormalised. Ties go to the lower expert index."""

    k: int = 1

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"top_k: k must be >= 1, got k={self.k}: raise it")

    @property
    def least_experts(self) -> int:
        """k of them must exist."""
        return self.k

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Raises ValueError if there are fewer than k experts."""
        if self.k > p.shape[1]:
            raise ValueError(f"top_k: k must be in 1..{p.shape[1]}, got k={self.k}: lower it")
        chosen = torch.zeros_like(p, dtype=torch.bool)
        return renormalised(p, chosen.scatter(1, ranking(p)[:, : self.k], True)), carry


@dataclass(frozen=True)
class Nucleus(Policy):
    """The fewest most probable experts whose mass reaches `mass`, renormalised.

    The expert that crosses the threshold is kept; mass = 1 keeps every expert with p > 0. Ties go
    to the lower expert index. Source: top-p sampling, Holtzman et al. 2020, arXiv:1904.09751.
    """

    mass: float = 0.9

    def __post_init__(self):
        if not 0 < self.mass <= 1:
            raise ValueError(f"nucleus: mass must be in (0, 1], got {self.mass}: 1 keeps all")

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Weights on the nucleus."""
        order = ranking(p)
        # Those above an expert hold less than `mass` if it and those below hold above 1 - mass, a
        # sum exact also for mass = 1. With slack for rounding: 4 of 5 equal shares reach 0.8.
        tail = p.gather(1, order).flip(1).cumsum(dim=1).flip(1)
        kept = tail > (1 - self.mass) * (1 + 4 * p.shape[1] * torch.finfo(p.dtype).eps)
        kept[:, 0] = True  # for a mass below the rounding of the row sum
        return renormalised(p, torch.zeros_like(kept).scatter(1, order, kept)), carry


@dataclass(frozen=True)
class Threshold(Policy):
    """All experts with p >= min_p, at least the most probable one, renormalised."""

    min_p: float = 0.1

    def __post_init__(self):
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"threshold: min_p must be in [0, 1], got {self.min_p}: 0 keeps all")

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Weights on the experts above the threshold."""
        return renormalised(p, (p >= self.min_p).scatter(1, ranking(p)[:, :1], True)), carry
