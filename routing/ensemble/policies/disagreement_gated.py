"""The policy `disagreement_gated`: few experts where they agree, many where they do not.

    score = 1/2 sum_ij p_i p_j D_ij(t) = tr Cov_p(v) / dim   (`routing.ensemble.policies.gated`)

D_ij(t) is the mean of ||v_i - v_j||^2 / dim over held-out states in the time bin of t. Where the
experts agree, few are evaluated, however uncertain the router is. D is read from a pilot run
(`routing.ensemble.policies.pilot`), so no expert is evaluated to compute the score.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from routing.ensemble.policies.base import Carry, Policy, Probs, Uniform, WeightsAndCarry
from routing.ensemble.policies.gated import Score, check_gate, gated_weights
from routing.ensemble.policies.pilot import NeedsPilot, Pilot
from routing.flow.paths import Time


@dataclass(frozen=True)
class DisagreementGated(NeedsPilot):
    """Top-`few` where the experts' disagreement under p is at most `threshold`, else top-`many`.

    The disagreement is tr Cov_p(v) / dim, the posterior-weighted variance of the velocity per
    dimension, as a mean over the states of a time bin. `many` null is all experts.
    """

    threshold: float = 0.1
    few: int = 1
    many: int | None = None

    pilot_fields: ClassVar[frozenset[str]] = frozenset({"disagreement"})

    def __post_init__(self):
        """Validate the options."""
        check_gate("disagreement_gated", self)

    @property
    def min_experts(self) -> int:
        """`many`, or `few` if `many` is None."""
        return self.many or self.few

    def with_pilot(self, pilot: Pilot) -> "BoundDisagreementGated":
        """Return the policy with the pilot's disagreement. Raises ValueError if it has none."""
        (disagreement,) = pilot.require("disagreement_gated", "disagreement")
        return BoundDisagreementGated(self.threshold, self.few, self.many, disagreement)


@dataclass(frozen=True, eq=False)
class BoundDisagreementGated(Policy):
    """`DisagreementGated` with the disagreement of the experts in each time bin."""

    threshold: float
    few: int
    many: int | None
    disagreement: Float[Tensor, "bins experts experts"]

    @property
    def min_experts(self) -> int:
        """`many`, or `few` if `many` is None."""
        return self.many or self.few

    def score(self, p: Probs, t: Time) -> Score:
        """Return tr Cov_p(v) / dim at the time bins of `t`."""
        return velocity_variance(p, self.disagreement[bin_index(t, len(self.disagreement))])

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Return the weights. Raises ValueError if there are fewer than `min_experts`."""
        return gated_weights(self, self.score(p, t), p, t, u), carry


def velocity_variance(p: Probs, disagreement: Float[Tensor, "batch experts experts"]) -> Score:
    """Return  1/2 sum_ij p_i p_j D_ij = tr Cov_p(v) / dim ,  D_ij = ||v_i - v_j||^2 / dim ."""
    # Not a matrix product: its rounding depends on the batch, and a gate must decide row by row.
    pairs = p[:, :, None] * p[:, None, :] * disagreement.to(p.dtype)
    return pairs.flatten(1).sum(dim=1) / 2


def bin_index(t: Time, num_bins: int) -> Int[Tensor, " batch"]:
    """Return the bin of each time among `num_bins` equal parts of [0, 1]; t = 1 is in the last."""
    # In float32, as `has_reached`: the same bin whatever the precision of the grid of times.
    return (t.float() * num_bins).long().clamp(0, num_bins - 1)
