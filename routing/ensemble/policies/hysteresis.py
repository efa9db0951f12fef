"""The policy `hysteresis`: the most probable expert, replaced only by a clearly better one."""

from dataclasses import dataclass

import torch

from routing.ensemble.policies.base import Carry, Policy, Probs, Uniform, WeightsAndCarry
from routing.ensemble.ranking import ranking
from routing.flow.paths import Time


@dataclass(frozen=True)
class Hysteresis(Policy):
    """One expert, kept until the p of another one exceeds its own by more than `margin`.

    The new expert, as the first one, is the most probable one. It never switches more often than
    top-1: between two of its switches the top-1 expert has changed. margin = 0 is top-1, except
    that ties go to the present expert; margin = 1 keeps the first expert for the whole trajectory.
    """

    margin: float = 0.1

    def __post_init__(self):
        """Validate the options."""
        if not 0 <= self.margin <= 1:
            raise ValueError(
                f"hysteresis: margin must be in [0, 1], got {self.margin}: 0 is top-1"
            )

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return one-hot rows. The carry is (the one-hot rows of the call before,)."""
        (kept,) = (torch.zeros_like(p),) if carry is None else carry
        best = ranking(p)[:, :1]
        lead = p.gather(1, best)[:, 0] - (kept * p).sum(dim=1)
        is_due = (lead > self.margin) | ~kept.any(dim=1)
        kept = torch.where(is_due[:, None], torch.zeros_like(p).scatter(1, best, 1.0), kept)
        return kept, (kept,)
