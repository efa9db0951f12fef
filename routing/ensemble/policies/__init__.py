"""Routing policies: which experts are evaluated at time t, and with which weights.

A policy turns the router's posterior  p[b, k] = p(expert k | x_t[b], t)  into weights
w[b, k] >= 0 with rows summing to 1. The ensemble velocity is  v = sum_k w_k v_k ; with
w = p and exact experts it is the velocity of one model trained on all the data
(McAllister et al. 2025, arXiv:2501.05450). An expert with w = 0 is never evaluated, so
the support of w is also the cost.

    (w, carry) = policy(p, t, u, carry)

A policy is a pure function. Its arguments are p, the time, one number u in [0, 1) that belongs to
the sample and the step, and its own `carry`. It has no generator and sees neither x_t nor other
rows. The carry is None at the first call of a trajectory. Later it is a tuple of tensors (or of
carries) whose first axis is the batch; a row of zeros is a sample without history.

To add a policy, write a frozen dataclass with `__call__` and give it a row in POLICIES; the tests
find it there. A policy that depends on the outputs of the router or the experts on held-out states
(a `Pilot`) inherits `NeedsPilot`; `bind_pilot` turns it into a policy that can be called.
"""

from routing.ensemble.policies.base import (
    Carry,
    Policy,
    Probs,
    Uniform,
    WeightsAndCarry,
    has_reached,
)
from routing.ensemble.policies.budget import Budget, mean_num_experts
from routing.ensemble.policies.disagreement_gated import DisagreementGated, velocity_variance
from routing.ensemble.policies.entropy_gated import EntropyGated, entropy
from routing.ensemble.policies.full import Full
from routing.ensemble.policies.hysteresis import Hysteresis
from routing.ensemble.policies.nucleus import Nucleus
from routing.ensemble.policies.pilot import NeedsPilot, Pilot, bind_pilot, required_pilot_fields
from routing.ensemble.policies.sample_each_step import Sample, sample_one_hot
from routing.ensemble.policies.sticky import Sticky
from routing.ensemble.policies.switch import Switch, merge_carries
from routing.ensemble.policies.threshold import Threshold
from routing.ensemble.policies.top_k import TopK
from routing.ensemble.ranking import ranking, renormalised

POLICIES: dict[str, type] = {
    "full": Full,
    "top_k": TopK,
    "nucleus": Nucleus,
    "threshold": Threshold,
    "sample_each_step": Sample,
    "sticky": Sticky,
    "hysteresis": Hysteresis,
    "entropy_gated": EntropyGated,
    "disagreement_gated": DisagreementGated,
    "budget": Budget,
    "switch": Switch,
}

__all__ = [
    "POLICIES",
    "Budget",
    "Carry",
    "DisagreementGated",
    "EntropyGated",
    "Full",
    "Hysteresis",
    "NeedsPilot",
    "Nucleus",
    "Pilot",
    "Policy",
    "Probs",
    "Sample",
    "Sticky",
    "Switch",
    "Threshold",
    "TopK",
    "Uniform",
    "WeightsAndCarry",
    "bind_pilot",
    "entropy",
    "has_reached",
    "mean_num_experts",
    "merge_carries",
    "ranking",
    "renormalised",
    "required_pilot_fields",
    "sample_one_hot",
    "velocity_variance",
]
