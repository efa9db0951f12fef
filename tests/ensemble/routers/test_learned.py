"""Learned routers: the softmax of their logits, temperatures, conditions."""

import math

import pytest
import torch
from router_inputs import LABELS, logits, states

from routing.ensemble.routers import (
    ConditionalLearnedRouter,
    LearnedRouter,
)
from routing.flow.conditions import Condition


def test_network_is_the_softmax_of_its_logits(rng):
    x, t = states(rng)
    p = LearnedRouter(logits).posterior(x, t, None)
    for row, (a, b), time in zip(p.tolist(), x.tolist(), t.tolist(), strict=True):
        weights = [math.exp(a), math.exp(b), math.exp(time)]
        assert row == pytest.approx([w / sum(weights) for w in weights], rel=1e-12)


def test_logits_are_divided_by_the_temperature_of_the_bin_of_t():
    t = torch.tensor([0.0, 0.24, 0.25, 0.5, 0.74, 0.75, 1.0], dtype=torch.float64)
    x = torch.linspace(-1, 2, 14, dtype=torch.float64).reshape(7, 2)
    temperatures = torch.tensor([0.5, 2.0, 3.0, 7.0])
    of_row = temperatures[[0, 0, 1, 2, 2, 3, 3]].double()
    p = LearnedRouter(logits, temperatures).posterior(x, t, None)
    torch.testing.assert_close(p, (logits(x, t) / of_row[:, None]).softmax(1))
    conditional = ConditionalLearnedRouter(lambda x, t, c: logits(x, t), temperatures)
    assert torch.equal(conditional.posterior(x, t, None), p)
    with pytest.raises(ValueError, match="temperatures must be > 0, got"):
        LearnedRouter(logits, torch.tensor([1.0, 0.0]))


def test_only_a_conditional_router_passes_the_condition_to_its_network(rng):
    x, t = states(rng)
    condition, requested = Condition(label=LABELS), []

    def net(x, t, *condition):
        requested.append(condition)
        return logits(x, t)

    for router in (LearnedRouter(net), ConditionalLearnedRouter(net)):
        for given in (condition, None):
            router.posterior(x, t, router.start(x, None, given))
    assert requested == [(), (), (condition,), (None,)]
