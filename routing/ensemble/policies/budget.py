"""The policy `budget`: another policy, tuned to a mean number of experts per call.

The tuned option (TUNABLE) is a number theta. The mean number of experts over the pilot's states,

    m(theta) = mean_b #{k : w_k(p_b, t_b; theta) > 0} ,

is a monotone step function. It changes only where theta passes one of the pilot's own values: a
probability, the mass below an expert, an entropy, a disagreement. The candidates are one theta
between each two neighbours of these values. Bisection finds the one with the largest
m <= mean_experts . The result is below the budget by at most one expert in one state (for a gate,
many - few experts in one state). If values are equal up to rounding, m is lower by their number.

To make a policy tunable, give it a row in TUNABLE.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from routing.ensemble.policies.base import Policy, Probs
from routing.ensemble.policies.disagreement_gated import DisagreementGated
from routing.ensemble.policies.entropy_gated import EntropyGated
from routing.ensemble.policies.nucleus import Nucleus
from routing.ensemble.policies.pilot import NeedsPilot, Pilot, bind_pilot
from routing.ensemble.policies.threshold import Threshold
from routing.ensemble.ranking import ranking
from routing.flow.paths import Time

Candidates = Float[Tensor, " candidates"]


@dataclass(frozen=True)
class Budget(NeedsPilot):
    """The policy `by`, tuned so that it evaluates `mean_experts` experts per call.

    The mean is over held-out states at times uniform in [0, 1], restricted to the times at which
    this policy is used. On trajectories, and on other grids of times, the cost may differ. After
    `bind_pilot` the policy is `by` with the option found.
    """

    mean_experts: float
    by: Policy = Nucleus()

    pilot_fields: ClassVar[frozenset[str]] = frozenset({"posteriors"})

    def __post_init__(self):
        """Validate the options."""
        if type(self.by) not in TUNABLE:
            names = ", ".join(kind.__name__ for kind in TUNABLE)
            raise ValueError(f"budget: by must be a tunable policy ({names}), got {self.by}")
        low, high = getattr(self.by, "few", 1), getattr(self.by, "many", None) or math.inf
        if not low <= self.mean_experts <= high:
            raise ValueError(
                f"budget: mean_experts must be in [{low}, {high}] by {self.by}, "
                f"got {self.mean_experts}: change one of them"
            )

    @property
    def min_experts(self) -> int:
        """That of `by`, or `mean_experts` rounded up if that is more."""
        return max(self.by.min_experts, math.ceil(self.mean_experts))

    def with_pilot(self, pilot: Pilot) -> Policy:
        """Return `by` with its option tuned on the pilot.

        Raises ValueError if no value of the option meets the budget on the pilot.
        """
        t, p = pilot.require("budget", "t", "posteriors")
        if len(p) == 0:
            raise ValueError("budget: needs pilot states at its times, got none: widen its times")
        option, candidates_of = TUNABLE[type(self.by)]
        candidates = candidates_of(self.by, pilot).tolist()

        def policy_of(index: int) -> Policy:
            return bind_pilot(replace(self.by, **{option: candidates[index]}), pilot)

        def mean_of(index: int) -> float:
            return mean_num_experts(policy_of(index), p, t)

        low, high = mean_of(0), mean_of(len(candidates) - 1)
        if not low <= self.mean_experts <= high:
            raise ValueError(
                f"budget: mean_experts must be in [{low}, {high}], which {self.by} reaches on "
                f"this router's posteriors, got {self.mean_experts}: change it"
            )
        return policy_of(bisect_right(range(len(candidates)), self.mean_experts, key=mean_of) - 1)


def mean_num_experts(policy: Policy, p: Probs, t: Time) -> float:
    """Return the mean number of experts with weight on these states (without a carry)."""
    w, _ = policy(p, t, torch.zeros_like(t), None)
    return (w > 0).sum().item() / len(p)


def mass_candidates(by: Nucleus, pilot: Pilot) -> Candidates:
    """Return values of `mass`: an expert is kept if its tail holds more than  1 - mass ."""
    p = pilot.posteriors.double()
    below = p.gather(1, ranking(p)).flip(1).cumsum(dim=1)[:, :-1]
    return 1 - midpoints(below, 1.0)


def min_p_candidates(by: Threshold, pilot: Pilot) -> Candidates:
    """Return values of `min_p`: any but the most probable expert is kept if  p >= min_p ."""
    p = pilot.posteriors
    return midpoints(p.gather(1, ranking(p)[:, 1:]), 1.0)


def threshold_candidates(by: EntropyGated | DisagreementGated, pilot: Pilot) -> Candidates:
    """Return values of a gate's `threshold`: many experts are used if its score is above."""
    score = bind_pilot(by, pilot).score(pilot.posteriors, pilot.t)
    return midpoints(score, score.max().item() + 1)


def midpoints(values: Float[Tensor, "*any"], upper: float) -> Candidates:
    """Return the midpoints of 0, the distinct `values` and `upper`, in falling order."""
    # In float64, where there is a number between two neighbours of float32.
    values = values.double().flatten()
    edges = torch.cat([values, values.new_tensor([0.0, upper])]).unique().flip(0)
    return (edges[1:] + edges[:-1]) / 2


TUNABLE: dict[type, tuple[str, Callable[[Policy, Pilot], Candidates]]] = {
    # policy: (its option, candidate values from the fewest experts to the most)
    Nucleus: ("mass", mass_candidates),
    Threshold: ("min_p", min_p_candidates),
    EntropyGated: ("threshold", threshold_candidates),
    DisagreementGated: ("threshold", threshold_candidates),
}
