"""The policy `entropy_gated`: few experts where the router is certain, many where it is not.

score = H(p) = -sum_k p_k log p_k   (`routing.ensemble.policies.gated`)
"""

from dataclasses import dataclass

import torch

from routing.ensemble.policies.base import Carry, Policy, Probs, Uniform, WeightsAndCarry
from routing.ensemble.policies.gated import Score, check_gate, gated_weights
from routing.flow.paths import Time


@dataclass(frozen=True)
class EntropyGated(Policy):
    """Top-`few` where the entropy of p (nats) is at most `threshold`, top-`many` above.

    `many` null is all experts. A threshold of 0 leaves `few` experts where p is one-hot.
    """

    threshold: float = 0.5
    few: int = 1
    many: int | None = None

    def __post_init__(self):
        """Validate the options."""
        check_gate("entropy_gated", self)

    @property
    def min_experts(self) -> int:
        """`many`, or `few` if `many` is None."""
        return self.many or self.few

    def score(self, p: Probs, t: Time) -> Score:
        """Return the entropy in nats."""
        return entropy(p)

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return the weights. Raises ValueError if there are fewer than `min_experts`."""
        return gated_weights(self, self.score(p, t), p, t, u), carry


def entropy(p: Probs) -> Score:
    """Return  H(p) = -sum_k p_k log p_k  in nats; 0 log 0 = 0."""
    return torch.special.entr(p).sum(dim=1)
