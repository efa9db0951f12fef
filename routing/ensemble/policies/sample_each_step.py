"""The policy `sample`: one expert drawn from the posterior at every call."""

from dataclasses import dataclass

import torch

from routing.ensemble.policies.base import Carry, Policy, Probs, Uniform, WeightsAndCarry
from routing.flow.paths import Time


@dataclass(frozen=True)
class Sample(Policy):
    """One expert drawn from p at every call: an unbiased estimate from one evaluation per call."""

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return one-hot rows."""
        return sample_one_hot(p, u), carry


def sample_one_hot(p: Probs, u: Uniform) -> Probs:
    """Return one-hot rows of the expert k with  cdf[k-1] <= u < cdf[k] ; never one with p = 0."""
    # In float64 and scaled by the row sum, so that u < cdf at the last expert with p > 0.
    cdf = p.cumsum(dim=1)
    index = (cdf <= u.double()[:, None] * cdf[:, -1:]).sum(dim=1, keepdim=True)
    return torch.zeros_like(p).scatter(1, index, 1.0)
