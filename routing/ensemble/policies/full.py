"""The policy `full`: all experts, weighted by the posterior."""

from dataclasses import dataclass

from routing.ensemble.policies.base import Carry, Policy, Probs, Uniform, WeightsAndCarry
from routing.flow.paths import Time


@dataclass(frozen=True)
class Full(Policy):
    """All experts, w = p."""

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return p."""
        return p, carry
