"""The router `exact`: Bayes' rule, and the ensemble with it."""

import math

import pytest
import torch
from router_inputs import CLUSTERS, WORLD, states

from routing.ensemble.policies import Full
from routing.ensemble.routers import Exact


def test_exact_is_bayes_rule_written_out(rng):
    x, t = states(rng)
    p = Exact(WORLD, CLUSTERS, 3).posterior(x, t, None)
    for row, point, time in zip(p.tolist(), x.tolist(), t.tolist(), strict=True):
        joint = [0.0] * 3
        var = (1 - time) ** 2 * 0.25 + time**2
        for pi, mean, k in zip(
            WORLD.weights.tolist(), WORLD.means.tolist(), CLUSTERS, strict=True
        ):
            distance = sum((a - (1 - time) * m) ** 2 for a, m in zip(point, mean, strict=True))
            joint[k] += pi * math.exp(-distance / (2 * var)) / var
        assert row == pytest.approx([j / sum(joint) for j in joint], rel=1e-10)


def test_exact_experts_weighted_by_the_exact_posterior_are_the_monolith(rng):
    x, t = states(rng)
    experts = [WORLD.restrict((CLUSTERS == k).nonzero()[:, 0]) for k in range(3)]
    p = Exact(WORLD, CLUSTERS, 3).posterior(x, t, None)
    w, _ = Full()(p, t, torch.zeros_like(t), None)
    v = sum(w[:, k, None] * expert.velocity(x, t) for k, expert in enumerate(experts))
    torch.testing.assert_close(v, WORLD.velocity(x, t), rtol=0, atol=1e-12)
