"""The policy `threshold`: the experts above a probability, renormalised.

w_k = p_k / sum_{j in S} p_j   for k in S, else 0 ,   S = {k : p_k >= min_p} or {argmax p}
"""

from dataclasses import dataclass

from routing.ensemble.policies.base import Carry, Policy, Probs, Uniform, WeightsAndCarry
from routing.ensemble.ranking import ranking, renormalised
from routing.flow.paths import Time


@dataclass(frozen=True)
class Threshold(Policy):
    """All experts with p >= min_p, and always the most probable one, renormalised."""

    min_p: float = 0.1

    def __post_init__(self):
        """Validate the options."""
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"threshold: min_p must be in [0, 1], got {self.min_p}: 0 keeps all")

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return weights on the experts above the threshold."""
        return renormalised(p, (p >= self.min_p).scatter(1, ranking(p)[:, :1], True)), carry
