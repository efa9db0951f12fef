"""The policy `budget`: what is tuned on a pilot, and how close it comes to the budget."""

import dataclasses

import pytest
import torch
from posteriors import EXPERTS, assert_one_line_error, posterior, soft_pilot

from routing.ensemble.policies import (
    POLICIES,
    Budget,
    DisagreementGated,
    EntropyGated,
    Full,
    Nucleus,
    Pilot,
    Switch,
    Threshold,
    bind_pilot,
    mean_num_experts,
    required_pilot_fields,
)
from routing.ensemble.policies.budget import TUNABLE, midpoints
from routing.workflow import choices

RULES = [  # the tunable policy, its fewest and its most experts
    (Nucleus(), 1, EXPERTS),
    (Threshold(), 1, EXPERTS),
    (EntropyGated(), 1, EXPERTS),
    (EntropyGated(0.5, 2, 3), 2, 3),
    (DisagreementGated(), 1, EXPERTS),
    (DisagreementGated(0.5, 1, 2), 1, 2),
]
STEP = {EntropyGated: EXPERTS - 1, DisagreementGated: EXPERTS - 1}  # experts added in one step


def test_the_list_is_the_table():
    assert {type(rule) for rule, _, _ in RULES} == TUNABLE.keys()


@pytest.mark.parametrize("rule, few, most", RULES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mean_number_of_experts_is_the_budget(rule, few, most, dtype):
    pilot = soft_pilot(states=1000)
    p, t = pilot.posteriors.to(dtype), pilot.t
    pilot = dataclasses.replace(pilot, posteriors=p / p.sum(dim=1, keepdim=True))
    means = []
    for part in (0.0, 0.1, 0.123456, 0.5, 0.7, 0.95, 1.0):
        budget = few + part * (most - few)
        policy = bind_pilot(Budget(budget, rule), pilot)
        mean = mean_num_experts(policy, pilot.posteriors, t)
        assert budget - (STEP.get(type(rule), 1) + 1) / 1000 < mean <= budget
        means.append(mean)
        assert required_pilot_fields(policy) == frozenset() and bind_pilot(policy, pilot) is policy
    assert means == sorted(set(means)) and means[0] == few and means[-1] == most


@pytest.mark.parametrize("rule, few, most", RULES, ids=str)
def test_new_states_of_the_same_law_cost_about_the_same(rule, few, most):
    pilot = soft_pilot(states=4000)
    new = dataclasses.replace(soft_pilot(states=4000, seed=1), disagreement=pilot.disagreement)
    for part in (0.2, 0.6):
        budget = few + part * (most - few)
        policy = bind_pilot(Budget(budget, rule), pilot)
        assert mean_num_experts(policy, new.posteriors, new.t) == pytest.approx(budget, rel=0.05)


@pytest.mark.parametrize("rule, few, most", RULES, ids=str)
def test_a_finer_number_does_not_meet_the_budget_better(rule, few, most, rng):
    """Against all numbers on a grid, on posteriors with ties and zeros."""
    pilot = Pilot(torch.rand(64, generator=rng), posterior(rng), soft_pilot().disagreement)
    option = TUNABLE[type(rule)][0]
    grid = torch.linspace(1e-3, 1 if option in ("mass", "min_p") else 3, 200).tolist()
    rules = [bind_pilot(dataclasses.replace(rule, **{option: number}), pilot) for number in grid]
    means = [mean_num_experts(policy, pilot.posteriors, pilot.t) for policy in rules]
    for budget in torch.linspace(few, max(means), 9).tolist():
        policy = bind_pilot(Budget(budget, rule), pilot)
        mean = mean_num_experts(policy, pilot.posteriors, pilot.t)
        assert mean <= budget and mean >= max(m for m in means if m <= budget)


def test_tuned_options_by_hand():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.06, 0.04]], dtype=torch.float64)
    pilot = Pilot(torch.tensor([0.2, 0.8]), p, torch.ones(2, 3, 3) - torch.eye(3))
    # Two states: a budget of 1.5 buys the second expert of the first state, 2 its third.
    assert bind_pilot(Budget(1.0, Nucleus()), pilot).mass == pytest.approx((0.0 + 0.5) / 2)
    assert bind_pilot(Budget(1.5, Nucleus()), pilot).mass == pytest.approx((0.5 + 0.8) / 2)
    assert bind_pilot(Budget(1.99, Nucleus()), pilot).mass == pytest.approx((0.5 + 0.8) / 2)
    assert bind_pilot(Budget(2.0, Nucleus()), pilot).mass == pytest.approx((0.8 + 0.9) / 2)
    assert bind_pilot(Budget(1.0, Threshold()), pilot).min_p == pytest.approx((0.3 + 1.0) / 2)
    assert bind_pilot(Budget(2.0, Threshold()), pilot).min_p == pytest.approx((0.2 + 0.06) / 2)
    assert bind_pilot(Budget(3.0, Threshold()), pilot).min_p == pytest.approx(0.04 / 2)
    gate = bind_pilot(Budget(1.5, EntropyGated(0.0, 1, 2)), pilot)
    assert gate == EntropyGated(gate.threshold, 1, 2)
    assert gate.threshold == pytest.approx((1.02965301 + 0.39238419) / 2)
    gate = bind_pilot(Budget(2.0, DisagreementGated()), pilot)  # 1/2 (1 - sum p^2): .31 and .0924
    assert gate.threshold == pytest.approx((0.31 + 0.0924) / 2) and gate.many is None
    assert bind_pilot(Budget(1.9, DisagreementGated()), pilot).threshold > 0.31


def test_equal_states_change_together_and_stay_below_the_budget():
    p = torch.tensor([[0.6, 0.3, 0.1]]).repeat(10, 1)
    pilot = Pilot(torch.linspace(0, 1, 10), p)
    for rule in (Nucleus(), Threshold()):
        for budget, mean in [(1.0, 1), (1.9, 1), (2.0, 2), (2.9, 2), (3.0, 3)]:
            assert mean_num_experts(bind_pilot(Budget(budget, rule), pilot), p, pilot.t) == mean
    for budget, mean in [(1.0, 1), (2.9, 1), (3.0, 3)]:
        assert (
            mean_num_experts(bind_pilot(Budget(budget, EntropyGated()), pilot), p, pilot.t) == mean
        )


def test_a_budget_out_of_reach_raises():
    soft, eye = soft_pilot(), torch.eye(EXPERTS)
    sure = Pilot(torch.linspace(0, 1, EXPERTS), eye)
    for rule, _, _ in RULES[:4]:
        assert_one_line_error(
            lambda r=rule: bind_pilot(Budget(2.5, r), sure), "[", "reaches on", "got 2.5"
        )
    assert_one_line_error(lambda: bind_pilot(Budget(5.5), soft), "[1.0, 5.0]", "got 5.5")
    agreed = dataclasses.replace(soft, disagreement=torch.zeros(2, EXPERTS, EXPERTS))
    assert_one_line_error(
        lambda: bind_pilot(Budget(1.5, DisagreementGated()), agreed), "[1.0, 1.0]", "got 1.5"
    )
    assert_one_line_error(
        lambda: bind_pilot(Budget(1.5), Pilot()), "budget", "the pilot's t", "run the probe"
    )
    assert_one_line_error(lambda: bind_pilot(Budget(1.5), Pilot(soft.t)), "the pilot's posteriors")
    assert_one_line_error(
        lambda: bind_pilot(DisagreementGated(), Pilot(soft.t)), "disagreement_gated: needs"
    )
    assert_one_line_error(
        lambda: bind_pilot(Switch(Budget(1.5), Full(), 1.0), soft), "pilot states", "got none"
    )


def test_midpoints():
    assert midpoints(torch.tensor([[0.5, 0.25], [0.5, 0.0]]), 1.0).tolist() == [0.75, 0.375, 0.125]
    assert midpoints(torch.zeros(0), 1.0).tolist() == [0.5]
    close = torch.tensor([0.5, 0.5 + 2**-24])  # neighbours in single precision
    assert 0.5 < midpoints(close, 1.0)[1].item() < 0.5 + 2**-24


def test_a_config_holds_the_options_and_nothing_that_is_bound():
    options = {"name": "budget", "mean_experts": 1.5, "by": "entropy_gated"}
    assert choices.build(POLICIES, options, "x") == Budget(1.5, EntropyGated())
    full = {"name": "entropy_gated", "threshold": 0.5, "few": 1, "many": None}
    assert choices.resolve(POLICIES, options, "x") == options | {"by": full}
    gate = {"name": "disagreement_gated", "threshold": 0.2, "few": 2, "many": 3}
    assert choices.build(POLICIES, gate, "x") == DisagreementGated(0.2, 2, 3)
    assert choices.resolve(POLICIES, gate, "x") == gate
    assert_one_line_error(
        lambda: choices.build(POLICIES, gate | {"disagreement": 1}, "x"), "unknown option"
    )
