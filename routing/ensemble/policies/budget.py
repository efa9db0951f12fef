"""A compute budget: the rule is given by what it may cost, and its number is found.

The mean support of a rule with number theta over the pilot's states is a step function

    m(theta) = mean_b #{k : w_k(p_b, t_b; theta) > 0}

monotone in theta, that changes only where theta passes one of the pilot's own values: a
probability, the mass below an expert, an entropy, a disagreement. A row of KNOBS lists one number
between each two neighbours of these, and bisection finds the one with the largest
m <= mean_experts  by asking the rule itself. That is within one expert in one state (few to many,
for a gate) of the budget; but values equal up to rounding come and go together, and then m stays
below by their number.

To add a rule that has a number, give it a row in KNOBS.
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
from routing.ensemble.policies.gates import DisagreementGated, EntropyGated
from routing.ensemble.policies.pilot import Pilot, Unbound, bind
from routing.ensemble.policies.subsets import Nucleus, Threshold
from routing.ensemble.ranking import ranking
from routing.flow.paths import Time

Numbers = Float[Tensor, " numbers"]


@dataclass(frozen=True)
class Budget(Unbound):
    """The rule `by`, its own number replaced by the one that asks `mean_experts` per call.

    A mean over states noised to times uniform in [0, 1], and over the calls for which this policy
    speaks: on trajectories, and on other grids of times, the bill may differ. Bound, it is `by`
    with the number found.
    """

    mean_experts: float
    by: Policy = Nucleus()

    wants: ClassVar[frozenset[str]] = frozenset({"posteriors"})

    def __post_init__(self):
        if type(self.by) not in KNOBS:
            names = ", ".join(kind.__name__ for kind in KNOBS)
            raise ValueError(f"budget: by must have a number to find ({names}), got {self.by}")
        least, most = getattr(self.by, "few", 1), getattr(self.by, "many", None) or math.inf
        if not least <= self.mean_experts <= most:
            raise ValueError(
                f"budget: mean_experts must be in [{least}, {most}] by {self.by}, "
                f"got {self.mean_experts}: change one of them"
            )

    @property
    def least_experts(self) -> int:
        """As many as the rule needs, and as are asked for."""
        return max(self.by.least_experts, math.ceil(self.mean_experts))

    def bound(self, pilot: Pilot) -> Policy:
        """The rule with its number. Raises ValueError if none meets the budget on the pilot."""
        t, p = pilot.need("budget", "t", "posteriors")
        if len(p) == 0:
            raise ValueError("budget: wants pilot states at its times, got none: widen its times")
        option, cuts = KNOBS[type(self.by)]
        numbers = cuts(self.by, pilot).tolist()

        def rule(index: int) -> Policy:
            return bind(replace(self.by, **{option: numbers[index]}), pilot)

        def mean(index: int) -> float:
            return mean_support(rule(index), p, t)

        least, most = mean(0), mean(len(numbers) - 1)
        if not least <= self.mean_experts <= most:
            raise ValueError(
                f"budget: mean_experts must be in [{least}, {most}], which {self.by} reaches on "
                f"this router's posteriors, got {self.mean_experts}: change it"
            )
        return rule(bisect_right(range(len(numbers)), self.mean_experts, key=mean) - 1)


def mean_support(policy: Policy, p: Probs, t: Time) -> float:
    """The mean number of experts that a policy without memory asks on these states."""
    w, _ = policy(p, t, torch.zeros_like(t), None)
    return (w > 0).sum().item() / len(p)


def masses(by: Nucleus, pilot: Pilot) -> Numbers:
    """Masses: an expert is asked if it and those below it hold more than  1 - mass ."""
    p = pilot.posteriors.double()
    below = p.gather(1, ranking(p)).flip(1).cumsum(dim=1)[:, :-1]
    return 1 - between(below, 1.0)


def shares(by: Threshold, pilot: Pilot) -> Numbers:
    """Probabilities: an expert that is not the most probable one is asked if  p >= min_p ."""
    p = pilot.posteriors
    return between(p.gather(1, ranking(p)[:, 1:]), 1.0)


def scores(by: EntropyGated | DisagreementGated, pilot: Pilot) -> Numbers:
    """Scores of the gate: many experts are asked if it is above the threshold."""
    score = bind(by, pilot).score(pilot.posteriors, pilot.t)
    return between(score, score.max().item() + 1)


def between(values: Float[Tensor, "*any"], upper: float) -> Numbers:
    """Falling numbers, one between each two neighbours of 0, the distinct `values` and `upper`."""
    # In double, where there is a number between two neighbours of single precision.
    values = values.double().flatten()
    edges = torch.cat([values, values.new_tensor([0.0, upper])]).unique().flip(0)
    return (edges[1:] + edges[:-1]) / 2


KNOBS: dict[type, tuple[str, Callable[[Policy, Pilot], Numbers]]] = {
    # rule: (its number, candidates from the fewest experts to the most)
    Nucleus: ("mass", masses),
    Threshold: ("min_p", shares),
    EntropyGated: ("threshold", scores),
    DisagreementGated: ("threshold", scores),
}
