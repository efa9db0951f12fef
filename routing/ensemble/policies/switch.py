"""Two policies, one after the other: where the time decides who speaks."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from routing.ensemble.policies.base import Answer, Carry, Policy, Probs, Uniform, reached
from routing.ensemble.policies.pilot import Pilot, bind
from routing.flow.paths import Time


@dataclass(frozen=True)
class Switch(Policy):
    """`early` while t > t_switch (noise), `late` from t_switch down (data)."""

    early: Policy
    late: Policy
    t_switch: float = 0.5

    def __post_init__(self):
        if not 0 <= self.t_switch <= 1:
            raise ValueError(f"switch: t_switch must be in [0, 1], got {self.t_switch}: 0 is data")

    @property
    def least_experts(self) -> int:
        """The larger need of the two parts."""
        return max(self.early.least_experts, self.late.least_experts)

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> Answer:
        """The carry is the memories of the two parts."""
        early, late = carry or (None, None)
        is_late = reached(t, self.t_switch)
        if is_late.all():
            w, late = self.late(p, t, u, late)
            return w, (early, late)
        w, new_early = self.early(p, t, u, early)
        if not is_late.any():
            return w, (new_early, late)
        w_late, new_late = self.late(p, t, u, late)
        memories = remembered(~is_late, new_early, early), remembered(is_late, new_late, late)
        return torch.where(is_late[:, None], w_late, w), memories

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """Whether the part that speaks at `t` does."""
        early, late = carry or (None, None)
        part, memory = (self.late, late) if reached(t, self.t_switch) else (self.early, early)
        return part.needs_posterior(t, memory)

    def bound(self, pilot: Pilot) -> "Switch":
        """Each part bound to the states at which it speaks."""
        early, late = pilot.split(self.t_switch)
        return replace(self, early=bind(self.early, early), late=bind(self.late, late))


def remembered(is_live: Bool[Tensor, " batch"], new, old):
    """The carry `new` of the live rows and `old` (zeros where there is none) of the others."""
    if isinstance(new, tuple):
        old = old or (None,) * len(new)
        return tuple(remembered(is_live, *pair) for pair in zip(new, old, strict=True))
    if new is None:
        return None
    old = torch.zeros_like(new) if old is None else old
    return torch.where(is_live.reshape(-1, *[1] * (new.ndim - 1)), new, old)
