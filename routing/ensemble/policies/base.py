"""What every policy offers, and what several of them share."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from routing.ensemble.ranking import Probs
from routing.flow.paths import Time

Uniform = Float[Tensor, " batch"]  # in [0, 1): the sample's random number of this step
Carry = tuple | None
Answer = tuple[Probs, Carry]  # weights, and the memory after this call


@runtime_checkable
class Policy(Protocol):
    """What a policy offers. Those that remember nothing inherit the two defaults."""

    least_experts = 1  # the smallest number of experts for which the policy is defined

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Weights and the memory after this call; `p` is None only where it is not needed."""

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """False where the weights at time `t` do not depend on p, so nobody need compute it."""
        return True


def reached(t: float | Float[Tensor, "*batch"], threshold: float) -> Bool[Tensor, "*batch"]:
    """Whether falling time is at `threshold` or past it; in float32, beyond it grids differ."""
    return torch.as_tensor(t, dtype=torch.float32) <= threshold
