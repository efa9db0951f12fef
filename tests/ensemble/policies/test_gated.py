"""Gated policies: few experts where the score is low, many where it is high."""

import math

import pytest
import torch
from posteriors import BATCH, EXPERTS, disagreement, posterior

from routing.ensemble.policies import (
    DisagreementGated,
    EntropyGated,
    Pilot,
    bind_pilot,
    entropy,
    velocity_variance,
)
from routing.ensemble.policies.disagreement_gated import bin_index

GATES = [(1, None), (1, 2), (2, 4), (3, None)]


def top(p, k):
    order = sorted(range(len(p)), key=lambda j: (-p[j], j))[:k]
    total = sum(p[j] for j in order)
    return [p[j] / total if j in order else 0.0 for j in range(len(p))]


def loop(score, threshold, few, many, p):
    return [
        top(row, (many or EXPERTS) if s > threshold else few)
        for s, row in zip(score, p.tolist(), strict=True)
    ]


def matches(w, expected):
    torch.testing.assert_close(w.double(), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("few, many", GATES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_entropy_gate_is_the_loop_of_its_definition(few, many, dtype, rng):
    p, t = posterior(rng, 400).to(dtype), torch.rand(400, generator=rng)
    score = [-sum(q * math.log(q) for q in row if q > 0) for row in p.tolist()]
    torch.testing.assert_close(entropy(p), torch.tensor(score, dtype=dtype))
    for threshold in (0.0, 0.3, 0.9, 2.0):
        w, carry = EntropyGated(threshold, few, many)(p, t, t, None)
        assert carry is None and w.dtype == dtype
        matches(w, loop([s if s > 1e-12 else 0.0 for s in score], threshold, few, many, p))


@pytest.mark.parametrize("few, many", GATES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_disagreement_gate_is_the_loop_of_its_definition(few, many, dtype, rng):
    p, t = posterior(rng, 400).to(dtype), torch.rand(400, generator=rng).to(dtype)
    t[:5] = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    d, v = disagreement(rng)
    score = []
    for row, time in zip(p.tolist(), t.tolist(), strict=True):
        experts = v[min(int(4 * time), 3)].tolist()
        mean = [sum(q * e[i] for q, e in zip(row, experts, strict=True)) for i in range(3)]
        off = [sum((a - m) ** 2 for a, m in zip(e, mean, strict=True)) / 3 for e in experts]
        score.append(sum(q * o for q, o in zip(row, off, strict=True)))  # tr Cov_p(v) / dim
    bins = [min(int(4 * time), 3) for time in t.tolist()]
    torch.testing.assert_close(velocity_variance(p, d[bins]), torch.tensor(score, dtype=dtype))
    for threshold in (0.0, 0.2, 0.5, 9.0):
        policy = bind_pilot(DisagreementGated(threshold, few, many), Pilot(disagreement=d))
        w, carry = policy(p, t, t, None)
        assert carry is None and w.dtype == dtype
        matches(w, loop([s if s > 1e-12 else 0.0 for s in score], threshold, few, many, p))


def test_a_gate_is_closed_exactly_at_its_threshold():
    p, t, u = torch.tensor([[0.5, 0.5, 0.0]]), torch.ones(1), torch.zeros(1)
    d = torch.tensor([[[0.0, 2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    at = entropy(p).item()
    for threshold, kept in [(at, 1), (at - 1e-6, 2), (at + 1e-6, 1)]:
        assert (EntropyGated(threshold)(p, t, u, None)[0] > 0).sum() == kept
    for threshold, kept in [(0.5, 1), (0.5 - 1e-6, 2), (0.5 + 1e-6, 1)]:  # 2 * 0.25 * 2 / 2
        policy = bind_pilot(DisagreementGated(threshold), Pilot(disagreement=d))
        assert (policy(p, t, u, None)[0] > 0).sum() == kept


@pytest.mark.parametrize("num_bins", [1, 4, 10, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_time_bins_are_equal_and_close_at_one(num_bins, dtype):
    edges = torch.arange(num_bins, dtype=dtype) / num_bins
    index = list(range(num_bins))
    assert bin_index(edges, num_bins).tolist() == index  # an edge opens its bin
    assert bin_index(edges.float().double(), num_bins).tolist() == index  # in any precision
    assert bin_index(edges + 0.5 / num_bins, num_bins).tolist() == index
    assert bin_index(edges + 1 / num_bins - 1e-5, num_bins).tolist() == index
    assert bin_index(torch.ones(1, dtype=dtype), num_bins).tolist() == [num_bins - 1]


def test_a_gate_sees_the_disagreement_of_its_own_time():
    p, u = torch.tensor([[0.6, 0.4]]).repeat(4, 1), torch.zeros(4)
    apart = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    d = torch.stack([0 * apart, apart, 0 * apart, apart])
    policy = bind_pilot(DisagreementGated(0.1), Pilot(disagreement=d))
    w, _ = policy(p, torch.tensor([0.1, 0.3, 0.7, 1.0]), u, None)
    assert (w > 0).sum(dim=1).tolist() == [1, 2, 1, 2]


def test_decisions_do_not_see_the_batch(rng):
    """At thresholds that equal scores: one bit of difference would change the experts."""
    p, t, d = posterior(rng), torch.rand(BATCH, generator=rng), disagreement(rng)[0].float()
    scores = {"entropy": entropy(p), "velocity_variance": velocity_variance(p, d[bin_index(t, 4)])}
    for i in range(BATCH):
        rows = slice(i, i + 1)
        assert torch.equal(entropy(p[rows]), scores["entropy"][rows])
        assert torch.equal(
            velocity_variance(p[rows], d[bin_index(t[rows], 4)]), scores["velocity_variance"][rows]
        )
