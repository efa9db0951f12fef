"""Objectives: what each loss is, by loop; where it is least, in closed form; that it can train."""

import dataclasses
import math

import pytest
import torch
from objective_batches import (
    EXPERTS,
    make_batch,
    make_net,
    minimised,
    over_subsets,
    quadratic,
    rows,
    softmax,
)

from routing.ensemble.gram_matrix import best_single, best_weights, ensemble_error
from routing.ensemble.objectives import OBJECTIVES, Objective
from routing.ensemble.objectives.cluster import Cluster
from routing.ensemble.objectives.consistency import (
    Consistency,
    prior_chi2,
)
from routing.ensemble.objectives.expert_error import ExpertError
from routing.ensemble.objectives.soft_cluster import SoftCluster
from routing.ensemble.objectives.velocity import Velocity
from routing.ensemble.objectives.velocity_topk import VelocityTopK
from routing.networks.dit import Architecture, DiT

CASES = {
    "cluster": [Cluster()],
    "soft_cluster": [SoftCluster(), SoftCluster(0.3)],
    "expert_error": [ExpertError(), ExpertError(2.0)],
    "velocity": [Velocity()],
    "velocity_topk": [VelocityTopK(1), VelocityTopK(2), VelocityTopK(4)],
    "consistency": [Consistency(), Consistency(0.1)],
}
ALL = [objective for cases in CASES.values() for objective in cases]


def reordered(batch, order):
    inverse = order.argsort()
    return dataclasses.replace(
        batch,
        cluster=inverse[batch.cluster],
        distances=batch.distances[:, order],
        prior=batch.prior[order],
        gram=batch.gram[:, order][:, :, order],
        projections=batch.projections[:, :, order],
    )


# The table


def test_the_cases_are_the_table():
    assert CASES.keys() == OBJECTIVES.keys()
    assert all(type(case) is OBJECTIVES[name] for name, cases in CASES.items() for case in cases)


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_every_objective_keeps_the_rules_of_the_table(objective, rng):
    assert isinstance(objective, Objective) and objective.reads in ("images", "probe")
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.reads = "all"
    batch, net = make_batch(rng), make_net(rng)
    loss = objective(net, batch)
    assert loss.shape == () and loss.dtype == torch.float64
    # a constant added to all logits changes nothing
    same = objective(lambda x, t: net(x, t) + 3 + x.flatten(1).sum(1, keepdim=True), batch)
    torch.testing.assert_close(same, loss)
    # nor does the order of the experts
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        objective(lambda x, t: net(x, t)[:, order], reordered(batch, order)), loss
    )
    # nor does the order of the states
    torch.testing.assert_close(objective(net, rows(batch, torch.arange(12).flip(0))), loss)


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_what_is_read_is_declared(objective, rng):
    batch = make_batch(rng)
    bare = dataclasses.replace(batch, gram=None, directions=None, projections=None)
    if objective.reads == "images":
        assert objective(make_net(rng), bare).isfinite()
    else:
        with pytest.raises(ValueError, match="the batch must have .*, got None: train on the pr"):
            objective(make_net(rng), bare)


@pytest.mark.parametrize("gain", [0.0, 1e5])
@pytest.mark.parametrize("objective", ALL, ids=str)
def test_gradients_are_finite_for_logits_flat_and_saturated(objective, gain, rng):
    batch = make_batch(rng)
    free = torch.zeros(EXPERTS, dtype=torch.float64, requires_grad=True)
    net = make_net(rng, gain=gain)
    loss = objective(lambda x, t: net(x, t) + free, batch)
    loss.backward()
    assert loss.isfinite() and free.grad.isfinite().all()


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_one_state(objective, rng):
    batch, net = make_batch(rng), make_net(rng)
    alone = [objective(net, rows(batch, torch.tensor([i]))).item() for i in range(12)]
    assert all(map(math.isfinite, alone))
    if isinstance(objective, Consistency):  # no pairs of states, no prior_chi2
        z = net(batch.x, batch.t)
        extra = objective.weight * prior_chi2(z.softmax(1), batch.t, batch.prior)
    else:
        extra = 0.0
    # the prior_chi2 of `consistency` is at the evaluated points, which lie around the states
    expected = pytest.approx(sum(alone) / 12 + float(extra), rel=3e-4 if extra else 1e-6)
    assert objective(net, batch).item() == expected


@pytest.mark.parametrize("objective", ALL, ids=str)
def test_a_transformer_goes_down_its_gradient(objective, rng):
    """A small step lowers the loss by the squared norm of the gradient: it is the gradient."""
    torch.manual_seed(0)
    net = DiT(Architecture(4, 1, 2, width=8, depth=1, num_heads=2, num_logits=EXPERTS)).double()
    with torch.no_grad():
        for weight in net.parameters():  # at first the logits see nothing of x
            weight += 0.1 * torch.randn(weight.shape, generator=rng, dtype=torch.float64)
    batch = make_batch(rng)
    loss = objective(net, batch)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    square = sum(g.square().sum() for g in gradients)
    assert square > 1e-6 and all(g.isfinite().all() for g in gradients)
    losses = []
    for sign in (-1, 1):
        step = sign * 1e-4 / square.sqrt()
        with torch.no_grad():
            for weight, g in zip(net.parameters(), gradients, strict=True):
                weight += step * g
            losses.append(objective(net, batch))
            for weight, g in zip(net.parameters(), gradients, strict=True):
                weight -= step * g
    torch.testing.assert_close((losses[1] - losses[0]) / 2e-4, square.sqrt(), rtol=1e-4, atol=0.0)


# What the losses are, state by state in plain Python


def by_loop(objective, z, b):
    p = softmax(z)
    match objective:
        case Cluster():
            return -math.log(p[b["cluster"]])
        case SoftCluster(temperature):
            pairs = zip(b["prior"], b["distances"], strict=True)
            q = [pi * math.exp(-(d**2) / (2 * temperature**2)) for pi, d in pairs]
            return -sum(a / sum(q) * math.log(c) for a, c in zip(q, p, strict=True))
        case ExpertError(tau):
            q = softmax([-b["gram"][k][k] / tau for k in range(len(p))])
            return -sum(a * math.log(c) for a, c in zip(q, p, strict=True))
        case Velocity():
            return quadratic(p, b["gram"])
        case VelocityTopK(max_k):
            return over_subsets(p, b["gram"], 1 + math.floor(b["uniforms"] * max_k))


@pytest.mark.parametrize("objective", [o for o in ALL if not isinstance(o, Consistency)], ids=str)
def test_the_loss_by_loop(objective, rng):
    batch, net = make_batch(rng), make_net(rng, gain=2.0)
    z = net(batch.x, batch.t).tolist()
    expected = 0.0
    for i in range(12):
        b = {n: getattr(batch, n)[i].tolist() for n in ("cluster", "distances", "gram")}
        b |= {"prior": batch.prior.tolist(), "uniforms": batch.uniforms[i].item()}
        expected += by_loop(objective, z[i], b) / 12
    assert objective(net, batch).item() == pytest.approx(expected, rel=1e-12)


def test_options_are_refused(rng):
    for make in (SoftCluster, ExpertError, Consistency):
        with pytest.raises(ValueError, match="must be positive, got 0"):
            make(0.0)
    for max_k in (0, 9):
        with pytest.raises(ValueError, match=rf"max_k must be in 1..8, got {max_k}"):
            VelocityTopK(max_k)
    with pytest.raises(ValueError, match=r"max_k must be in 1..4 \(experts\), got 5"):
        VelocityTopK(5)(make_net(rng), make_batch(rng))
    empty = torch.tensor([0.5, 0.5, 0.0, 0.0]).double()
    with pytest.raises(ValueError, match="every prior must be above 0, got 0: leave out"):
        Consistency()(make_net(rng), dataclasses.replace(make_batch(rng), prior=empty))


# Where they are least


def trained(objective, batch, states):
    """p of a router that is free in every state; equal entries of `states` are the same state."""
    z = torch.zeros(int(states.max()) + 1, EXPERTS, dtype=torch.float64, requires_grad=True)
    least = minimised(lambda: objective(lambda x, t: z[states], batch), z)
    return z.detach().softmax(1), least


def test_the_cluster_objective_learns_frequencies(rng):
    batch, states = make_batch(rng, num=80), torch.arange(80) % 4
    p, _ = trained(Cluster(), batch, states)
    for s in range(4):
        counts = torch.bincount(batch.cluster[states == s], minlength=EXPERTS)
        torch.testing.assert_close(p[s], counts.double() / 20, atol=1e-6, rtol=0.0)


def test_soft_objectives_learn_the_mean_target(rng):
    batch, states = make_batch(rng, num=12), torch.arange(12) % 4
    soft = batch.prior * (-batch.distances.square() / (2 * 0.3**2)).exp()
    errors = (-batch.gram.diagonal(dim1=1, dim2=2) / 0.5).exp()
    for objective, target in ((SoftCluster(0.3), soft), (ExpertError(0.5), errors)):
        p, _ = trained(objective, batch, states)
        q = target / target.sum(1, keepdim=True)
        expected = torch.stack([q[states == s].mean(0) for s in range(4)])
        torch.testing.assert_close(p, expected, atol=1e-6, rtol=0.0)


def test_soft_labels_are_hard_at_temperature_0_and_the_prior_at_infinity(rng):
    batch, net = make_batch(rng), make_net(rng)
    nearest = dataclasses.replace(batch, cluster=batch.distances.argmin(1))
    torch.testing.assert_close(SoftCluster(1e-3)(net, batch), Cluster()(net, nearest))
    logp = net(batch.x, batch.t).log_softmax(1)
    torch.testing.assert_close(SoftCluster(1e6)(net, batch), -(logp @ batch.prior).mean())


def test_the_velocity_objective_learns_the_best_weights(rng):
    batch, states = make_batch(rng, num=12), torch.arange(12) % 3
    p, least = trained(Velocity(), batch, states)
    mean = torch.stack([batch.gram[states == s].mean(0) for s in range(3)])
    best = best_weights(mean)
    assert least == pytest.approx(ensemble_error(best, mean).mean().item(), abs=1e-7)
    torch.testing.assert_close(p, best, atol=1e-3, rtol=0.0)


def test_the_top_1_objective_learns_the_best_expert(rng):
    batch, states = make_batch(rng, num=12), torch.arange(12) % 3
    p, least = trained(VelocityTopK(1), batch, states)
    mean = torch.stack([batch.gram[states == s].mean(0) for s in range(3)])
    assert torch.equal(p.argmax(1), best_single(mean))
    best = mean.diagonal(dim1=1, dim2=2).amin(1).mean().item()
    assert least == pytest.approx(best, abs=1e-6)
