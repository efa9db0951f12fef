"""Routing policies: which experts speak at time t, and how loudly.

A policy turns the router's posterior  p[b, k] = p(expert k | x_t[b], t)  into weights
w[b, k] >= 0 with rows summing to 1. The ensemble velocity is  v = sum_k w_k v_k ; with
w = p and exact experts it is the velocity of one model trained on all the data
(McAllister et al. 2025, arXiv:2501.05450). An expert with w = 0 is never evaluated, so
the support of w is also the bill.

    (w, carry) = policy(p, t, u, carry)

Policies are pure functions of p, of the time, of one number u in [0, 1) that belongs to sample
and step, and of their own memory `carry`: no generator, no sight of x_t or of other rows. The
carry is None at the first call of a trajectory; else a tuple of tensors (or carries) whose first
axis is the batch, where a row of zeros is a sample of which nothing is remembered yet. To add a
policy, write a frozen dataclass with `__call__` and give it a row in POLICIES; the tests find it.
One that must first see what the router or the experts say on held-out states (`Pilot`) inherits
`Unbound`, and `bind` makes of it the policy that speaks.
"""

from routing.ensemble.policies.base import Answer, Carry, Policy, Probs, Uniform, reached
from routing.ensemble.policies.budget import Budget, mean_support
from routing.ensemble.policies.draws import Sample, Sticky, drawn
from routing.ensemble.policies.gates import DisagreementGated, EntropyGated, entropy, spread
from routing.ensemble.policies.hysteresis import Hysteresis
from routing.ensemble.policies.pilot import Pilot, Unbound, bind, wants
from routing.ensemble.policies.subsets import Full, Nucleus, Threshold, TopK
from routing.ensemble.policies.switch import Switch, remembered
from routing.ensemble.ranking import ranking, renormalised

POLICIES: dict[str, type] = {
    "full": Full,
    "top_k": TopK,
    "nucleus": Nucleus,
    "threshold": Threshold,
    "sample": Sample,
    "sticky": Sticky,
    "hysteresis": Hysteresis,
    "entropy_gated": EntropyGated,
    "disagreement_gated": DisagreementGated,
    "budget": Budget,
    "switch": Switch,
}

__all__ = [
    "POLICIES",
    "Answer",
    "Budget",
    "Carry",
    "DisagreementGated",
    "EntropyGated",
    "Full",
    "Hysteresis",
    "Nucleus",
    "Pilot",
    "Policy",
    "Probs",
    "Sample",
    "Sticky",
    "Switch",
    "Threshold",
    "TopK",
    "Unbound",
    "Uniform",
    "bind",
    "drawn",
    "entropy",
    "mean_support",
    "ranking",
    "reached",
    "remembered",
    "renormalised",
    "spread",
    "wants",
]
