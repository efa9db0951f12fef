"""One expert drawn from the posterior: at every call, or once per trajectory and kept."""

from dataclasses import dataclass, replace

import torch

from routing.ensemble.policies.base import Answer, Carry, Policy, Probs, Uniform, reached
from routing.ensemble.policies.pilot import Pilot, bind
from routing.ensemble.policies.subsets import Full
from routing.flow.paths import Time


@dataclass(frozen=True)
class Sample(Policy):
    """One expert drawn from p anew at every call: unbiased, at one evaluation per call."""

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """One-hot rows."""
        return drawn(p, u), carry


@dataclass(frozen=True)
class Sticky(Policy):
    """One expert drawn from p at the first call with t <= t_star and kept; `before` until then.

    With t_star = 1: one evaluation per call and one router call in all. From the true prior with
    perfect experts it is exact, the mixture of the experts' own samples. What p is at the draw is
    the router's part: p(k) of `prior`, p(k | condition) of a conditional router at t = 1, where
    x_t tells nothing, or p(k | x_t) at t_star below 1.
    """

    t_star: float = 1.0
    before: Policy = Full()

    def __post_init__(self):
        if not 0 <= self.t_star <= 1:
            raise ValueError(f"sticky: t_star must be in [0, 1], got {self.t_star}: 1 is noise")

    @property
    def least_experts(self) -> int:
        """What `before` needs."""
        return self.before.least_experts

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> Answer:
        """The carry is (one-hot rows of the experts drawn, memory of `before`)."""
        kept, memory = (torch.zeros_like(p), None) if carry is None else carry
        is_due = reached(t, self.t_star) & ~kept.any(dim=1)
        kept = torch.where(is_due[:, None], drawn(p, u), kept) if is_due.any() else kept
        is_kept = kept.any(dim=1)
        if is_kept.all():
            return kept, (kept, memory)
        w, memory = self.before(p, t, u, memory)
        return torch.where(is_kept[:, None], kept, w), (kept, memory)

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """False once every sample has its expert."""
        if carry is None:
            return True
        (kept, memory), is_due = carry, bool(reached(t, self.t_star))
        is_open = not kept.any(dim=1).all()
        return is_open and (is_due or self.before.needs_posterior(t, memory))

    def bound(self, pilot: Pilot) -> "Sticky":
        """`before` bound to the states at which it speaks."""
        early, _ = pilot.split(self.t_star)
        return replace(self, before=bind(self.before, early))


def drawn(p: Probs, u: Uniform) -> Probs:
    """One-hot rows: the expert k with  cdf[k-1] <= u < cdf[k] ; never one with p = 0."""
    # In double and times the total, so that u < total: the cdf at the last expert with p > 0.
    cdf = p.cumsum(dim=1)
    index = (cdf <= u.double()[:, None] * cdf[:, -1:]).sum(dim=1, keepdim=True)
    return torch.zeros_like(p).scatter(1, index, 1.0)
