"""The policy `sticky`: one expert drawn from the posterior once per trajectory and kept.

With t_star = 1 it costs one expert evaluation per call and one router evaluation in all. With
exact experts and the true prior it is exact: samples are those of the mixture of the experts. The
posterior at the draw depends on the router: p(k) of `prior`, p(k | condition) of a conditional
router at t = 1, where x_t holds no information, or p(k | x_t) at t_star < 1.
"""

from dataclasses import dataclass, replace

import torch

from routing.ensemble.policies.base import (
    Carry,
    Policy,
    Probs,
    Uniform,
    WeightsAndCarry,
    has_reached,
)
from routing.ensemble.policies.full import Full
from routing.ensemble.policies.pilot import Pilot, bind_pilot
from routing.ensemble.policies.sample_each_step import sample_one_hot
from routing.flow.paths import Time


@dataclass(frozen=True)
class Sticky(Policy):
    """One expert drawn from p at the first call with t <= t_star and kept; `before` until then.

    `before` is a policy. With t_star = 1 the expert is drawn at the first call.
    """

    t_star: float = 1.0
    before: Policy = Full()

    def __post_init__(self):
        """Validate the options."""
        if not 0 <= self.t_star <= 1:
            raise ValueError(f"sticky: t_star must be in [0, 1], got {self.t_star}: 1 is noise")

    @property
    def min_experts(self) -> int:
        """That of `before`."""
        return self.before.min_experts

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return the weights. The carry is (one-hot rows of the drawn experts, that of `before`).

        The rows are zeros where no expert is drawn yet.
        """
        kept, before_carry = (torch.zeros_like(p), None) if carry is None else carry
        is_due = has_reached(t, self.t_star) & ~kept.any(dim=1)
        kept = torch.where(is_due[:, None], sample_one_hot(p, u), kept) if is_due.any() else kept
        is_kept = kept.any(dim=1)
        if is_kept.all():
            return kept, (kept, before_carry)
        w, before_carry = self.before(p, t, u, before_carry)
        return torch.where(is_kept[:, None], kept, w), (kept, before_carry)

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """Return False once every sample has its expert, or while `before` needs no posterior."""
        if carry is None:
            return True
        (kept, before_carry), is_due = carry, bool(has_reached(t, self.t_star))
        is_open = not kept.any(dim=1).all()
        return is_open and (is_due or self.before.needs_posterior(t, before_carry))

    def with_pilot(self, pilot: Pilot) -> "Sticky":
        """Return the policy with `before` bound to the pilot's states at t > t_star."""
        early, _ = pilot.split(self.t_star)
        return replace(self, before=bind_pilot(self.before, early))
