"""The protocol of policies, their types, and the comparison of times that they share."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from routing.ensemble.ranking import Probs
from routing.flow.paths import Time

Uniform = Float[Tensor, " batch"]  # in [0, 1): the sample's random number of this step
Carry = tuple | None  # state of a policy between calls, as the carry of jax.lax.scan
WeightsAndCarry = tuple[Probs, Carry]


@runtime_checkable
class Policy(Protocol):
    """Map the router's posterior to weights. A policy without state inherits the defaults."""

    min_experts = 1  # smallest number of experts for which the policy is defined

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return the weights [batch experts] at time t, and the carry after this call.

        `p` may be None where `needs_posterior` is False for the times of all samples.
        """

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """Return whether the weights at time t depend on p; if not, p need not be computed."""
        return True


def has_reached(t: float | Float[Tensor, "*batch"], threshold: float) -> Bool[Tensor, "*batch"]:
    """Return whether  t <= threshold , for times that fall from 1 to 0.

    The comparison is in float32, so that grids of times in float32 and float64 agree.
    """
    return torch.as_tensor(t, dtype=torch.float32) <= threshold
