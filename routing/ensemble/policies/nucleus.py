"""The policy `nucleus`: the fewest experts that hold a given probability mass, renormalised.

    w_k = p_k / sum_{j in S} p_j   for k in S, else 0 ,   S the shortest prefix of the experts by
                                                          falling p with  sum_S p >= mass

This is top-p sampling (Holtzman et al. 2020, arXiv:1904.09751) without the sampling.
"""

from dataclasses import dataclass

import torch

from routing.ensemble.policies.base import Carry, Policy, Probs, Uniform, WeightsAndCarry
from routing.ensemble.ranking import ranking, renormalised
from routing.flow.paths import Time


@dataclass(frozen=True)
class Nucleus(Policy):
    """The fewest most probable experts whose total probability is at least `mass`, renormalised.

    The expert that crosses `mass` is kept; mass = 1 keeps every expert with p > 0. Ties go to the
    lower expert index. Source: top-p sampling, Holtzman et al. 2020, arXiv:1904.09751.
    """

    mass: float = 0.9

    def __post_init__(self):
        """Validate the options."""
        if not 0 < self.mass <= 1:
            raise ValueError(f"nucleus: mass must be in (0, 1], got {self.mass}: 1 keeps all")

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return weights on the nucleus."""
        order = ranking(p)
        # An expert is kept if those ranked above it hold less than `mass`, which is the same as
        # its own tail (it and all below) holding more than 1 - mass. The tail is exact also for
        # mass = 1. The factor allows for rounding: 4 of 5 experts with p = 0.2 reach mass 0.8.
        tail = p.gather(1, order).flip(1).cumsum(dim=1).flip(1)
        kept = tail > (1 - self.mass) * (1 + 4 * p.shape[1] * torch.finfo(p.dtype).eps)
        kept[:, 0] = True  # for a mass below the rounding of the row sum
        return renormalised(p, torch.zeros_like(kept).scatter(1, order, kept)), carry
