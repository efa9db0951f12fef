"""The policy `switch`: one policy at early times, another one at late times."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from routing.ensemble.policies.base import (
    Carry,
    Policy,
    Probs,
    Uniform,
    WeightsAndCarry,
    has_reached,
)
from routing.ensemble.policies.pilot import Pilot, bind_pilot
from routing.flow.paths import Time


@dataclass(frozen=True)
class Switch(Policy):
    """`early` while t > t_switch (noise), `late` from t_switch down (data)."""

    early: Policy
    late: Policy
    t_switch: float = 0.5

    def __post_init__(self):
        """Validate the options."""
        if not 0 <= self.t_switch <= 1:
            raise ValueError(f"switch: t_switch must be in [0, 1], got {self.t_switch}: 0 is data")

    @property
    def min_experts(self) -> int:
        """The larger one of the two policies."""
        return max(self.early.min_experts, self.late.min_experts)

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return the weights. The carry is those of (early, late)."""
        early, late = carry or (None, None)
        is_late = has_reached(t, self.t_switch)
        if is_late.all():
            w, late = self.late(p, t, u, late)
            return w, (early, late)
        w, new_early = self.early(p, t, u, early)
        if not is_late.any():
            return w, (new_early, late)
        w_late, new_late = self.late(p, t, u, late)
        carries = merge_carries(~is_late, new_early, early), merge_carries(is_late, new_late, late)
        return torch.where(is_late[:, None], w_late, w), carries

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """Return whether the policy in use at time t needs the posterior."""
        early, late = carry or (None, None)
        is_late = has_reached(t, self.t_switch)
        policy, policy_carry = (self.late, late) if is_late else (self.early, early)
        return policy.needs_posterior(t, policy_carry)

    def with_pilot(self, pilot: Pilot) -> "Switch":
        """Return the policy with `early` and `late` bound to the pilot's states at their times."""
        early, late = pilot.split(self.t_switch)
        return replace(self, early=bind_pilot(self.early, early), late=bind_pilot(self.late, late))


def merge_carries(is_updated: Bool[Tensor, " batch"], new, old):
    """Return the carry with the rows of `new` where `is_updated`, else of `old` (None: zeros)."""
    if isinstance(new, tuple):
        old = old or (None,) * len(new)
        return tuple(merge_carries(is_updated, *pair) for pair in zip(new, old, strict=True))
    if new is None:
        return None
    old = torch.zeros_like(new) if old is None else old
    return torch.where(is_updated.reshape(-1, *[1] * (new.ndim - 1)), new, old)
