"""Pilots: which values are valid, which policies need them, and how they are bound."""

import dataclasses

import pytest
import torch
from posteriors import assert_one_line_error, soft_pilot

from routing.ensemble.policies import (
    Budget,
    DisagreementGated,
    EntropyGated,
    Full,
    Hysteresis,
    Nucleus,
    Pilot,
    Sticky,
    Switch,
    Threshold,
    TopK,
    bind_pilot,
    mean_num_experts,
    required_pilot_fields,
)

P, D = frozenset({"posteriors"}), frozenset({"disagreement"})


def test_invalid_values_raise():
    p, t, d = torch.eye(2), torch.tensor([0.0, 1.0]), torch.zeros(3, 2, 2)
    Pilot(t, p, d)
    assert_one_line_error(lambda: Pilot(t + 0.1), "t must be in [0, 1]", "1.1")
    assert_one_line_error(lambda: Pilot(t - 0.1), "t must be in [0, 1]", "-0.1")
    for bad in (p + 0.01, p - torch.tensor([0.1, -0.1]), p * float("nan")):
        assert_one_line_error(
            lambda bad=bad: Pilot(t, bad), "posteriors must be >= 0 and sum to 1"
        )
    for number in (float("nan"), float("inf"), -0.1):
        bad = d.clone()
        bad[1, 0, 1] = number
        assert_one_line_error(lambda bad=bad: Pilot(t, p, bad), "got bins [1]")


def test_required_fields():
    gate = DisagreementGated()
    for policy, needed in [
        (Full(), set()),
        (Sticky(0.5, Switch(Nucleus(), Hysteresis())), set()),
        (gate, D),
        (Budget(1.5), P),
        (Budget(1.5, EntropyGated()), P),
        (Budget(1.5, gate), P | D),
        (Sticky(0.5, gate), D),
        (Switch(Full(), Sticky(0.2, Budget(1.5))), P),
        (Switch(Budget(1.5), gate), P | D),
    ]:
        assert required_pilot_fields(policy) == needed
        ready = bind_pilot(policy, soft_pilot())
        assert (
            required_pilot_fields(ready) == frozenset()
            and bind_pilot(ready, soft_pilot(seed=1)) is ready
        )
        assert (ready is policy) == (not needed)
    bind_pilot(Sticky(0.5, Switch(gate, gate)), Pilot(disagreement=soft_pilot().disagreement))


@pytest.mark.parametrize("policy", [DisagreementGated(), Budget(1.5), Switch(Budget(1.5), TopK())])
def test_an_unbound_policy_raises(policy):
    p, t = torch.eye(3), torch.ones(3)
    assert_one_line_error(
        lambda: policy(p, t, t, None),
        "must be bound to a pilot with ",
        "unbound: call bind_pilot first",
    )


def test_parts_are_bound_to_the_states_at_their_times():
    pilot = soft_pilot(states=2000)
    early = pilot.t > 0.7
    assert 0 < early.sum() < 1000
    both = bind_pilot(Switch(Budget(1.5), Budget(1.2, Threshold()), 0.7), pilot)
    before = bind_pilot(Sticky(0.7, Budget(1.5)), pilot).before
    assert both.early == before and both.t_switch == 0.7
    for policy, where, budget in [(both.early, early, 1.5), (both.late, ~early, 1.2)]:
        mean = mean_num_experts(policy, pilot.posteriors[where], pilot.t[where])
        assert budget - 2 / where.sum() < mean <= budget
    assert both.early.mass != bind_pilot(Budget(1.5), pilot).mass
    at = Pilot(torch.tensor([0.7, 0.8]), torch.tensor([[0.6, 0.4], [0.9, 0.1]]))
    late = bind_pilot(Switch(Full(), Budget(2.0), 0.7), at).late  # t_switch itself is late
    assert late.mass == pytest.approx((0.6 + 1.0) / 2)


@dataclasses.dataclass(frozen=True)
class Mine(Full):
    """A third party's policy that holds another."""

    inner: Full | Budget = Budget(1.5)
    note: str = "kept"


def test_other_policies_bind_their_parts():
    ready = bind_pilot(Mine(), soft_pilot())
    assert required_pilot_fields(Mine()) == P and ready == Mine(
        bind_pilot(Budget(1.5), soft_pilot())
    )
