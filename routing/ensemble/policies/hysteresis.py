"""One expert with inertia: the most probable one, changed only where that is worth a switch."""

from dataclasses import dataclass

import torch

from routing.ensemble.policies.base import Answer, Carry, Policy, Probs, Uniform
from routing.ensemble.ranking import ranking
from routing.flow.paths import Time


@dataclass(frozen=True)
class Hysteresis(Policy):
    """The present expert, until another one's p exceeds its own by more than `margin`.

    Then, and at the first call, the most probable one. It switches never more often than top-1:
    whenever it does, top-1 has changed since its last switch. margin = 0 is top-1, but that the
    present expert wins ties; margin = 1 keeps the first for ever.
    """

    margin: float = 0.1

    def __post_init__(self):
        if not 0 <= self.margin <= 1:
            raise ValueError(
                f"hysteresis: margin must be in [0, 1], got {self.margin}: 0 is top-1"
            )

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """One-hot rows. The carry is (the one-hot rows of the call before,)."""
        (kept,) = (torch.zeros_like(p),) if carry is None else carry
        best = ranking(p)[:, :1]
        lead = p.gather(1, best)[:, 0] - (kept * p).sum(dim=1)
        is_due = (lead > self.margin) | ~kept.any(dim=1)
        kept = torch.where(is_due[:, None], torch.zeros_like(p).scatter(1, best, 1.0), kept)
        return kept, (kept,)
