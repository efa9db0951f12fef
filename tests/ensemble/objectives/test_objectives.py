"""Objectives: what each loss is, by loop; where it is least, in closed form; that it can train."""

import dataclasses
import itertools
import math

import pytest
import torch

from routing.ensemble.gram_matrix import best_single, best_weights, ensemble_error, gram
from routing.ensemble.objectives import OBJECTIVES, Batch, Objective
from routing.ensemble.objectives.cluster import Cluster
from routing.ensemble.objectives.consistency import (
    Consistency,
    directional_derivatives,
    prior_chi2,
)
from routing.ensemble.objectives.expert_error import ExpertError
from routing.ensemble.objectives.soft_cluster import SoftCluster
from routing.ensemble.objectives.velocity import Velocity
from routing.ensemble.objectives.velocity_topk import VelocityTopK, expected_subset_error
from routing.flow import paths
from routing.flow.exact_worlds import GaussianMixture
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
EXPERTS = 4


def make_batch(rng, num=12, experts=EXPERTS, dims=(1, 4, 4), directions=2, dtype=torch.float64):
    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=dtype)

    v, u = normal(experts, num, *dims), normal(num, directions, *dims)
    return Batch(
        x=normal(num, *dims),
        t=torch.rand(num, generator=rng, dtype=dtype),
        cluster=torch.randint(experts, (num,), generator=rng),
        distances=normal(num, experts).abs(),
        prior=torch.rand(experts, generator=rng, dtype=dtype).softmax(0),
        uniforms=torch.rand(num, generator=rng, dtype=dtype),
        gram=gram(v, normal(num, *dims)).to(dtype),
        directions=u,
        projections=torch.einsum("bj...,kb...->bjk", u, v),
    )


def make_net(rng, dims=(1, 4, 4), experts=EXPERTS, gain=1.0):
    """A smooth field of logits that depends on x and t."""
    size = math.prod(dims)
    a = gain * torch.randn(size, experts, generator=rng, dtype=torch.float64) / size**0.5
    b = torch.randn(experts, generator=rng, dtype=torch.float64)
    return lambda x, t: (x.flatten(1) + 0.3 * x.flatten(1) ** 2) @ a.to(x) + t[:, None] * b.to(x)


def rows(batch, index):
    fields = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch)}
    return Batch(**{n: a if n == "prior" else a[index] for n, a in fields.items()})


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
    # logits that all move alike say the same
    same = objective(lambda x, t: net(x, t) + 3 + x.flatten(1).sum(1, keepdim=True), batch)
    torch.testing.assert_close(same, loss)
    # the names of the experts say nothing
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
    if isinstance(objective, Consistency):  # no pairs of states, no moments
        z = net(batch.x, batch.t)
        extra = objective.weight * prior_chi2(z.softmax(1), batch.t, batch.prior)
    else:
        extra = 0.0
    # the moments of a consistency are of the points asked, which lie around the states
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


def softmax(z):
    top = max(z)
    terms = [math.exp(a - top) for a in z]
    return [a / sum(terms) for a in terms]


def quadratic(w, G):
    n = range(len(w))
    return sum(w[i] * w[j] * G[i][j] for i in n for j in n)


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


def over_subsets(p, G, k):
    subsets = list(itertools.combinations(range(len(p)), k))
    chances = [math.prod(p[i] for i in s) for s in subsets]
    loss = 0.0
    for s, chance in zip(subsets, chances, strict=True):
        w = [p[i] / sum(p[j] for j in s) if i in s else 0.0 for i in range(len(p))]
        loss += chance / sum(chances) * quadratic(w, G)
    return loss


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


def test_the_consistency_by_loop(rng):
    batch, net = make_batch(rng), make_net(rng)
    expected = 0.0
    for i, j in itertools.product(range(12), range(2)):
        x, t, u = (a[i : i + 1] for a in (batch.x, batch.t, batch.directions[:, j]))
        x.requires_grad_()
        a = []
        for k in range(EXPERTS):
            (slope,) = torch.autograd.grad(net(x, t)[0, k], x)
            a.append(t * (u * slope).sum() + (1 - t) * batch.projections[i, j, k])
        pairs = sum((a[m] - a[n]) ** 2 for m in range(EXPERTS) for n in range(m))
        expected += pairs.item() / EXPERTS**2 / 16 / (12 * 2)
    chi = prior_chi2(net(batch.x, batch.t).softmax(1), batch.t, batch.prior).item()
    assert Consistency(0.7)(net, batch).item() == pytest.approx(expected + 0.7 * chi, rel=2e-3)


def test_the_moments_by_loop(rng):
    p = torch.randn(40, 3, generator=rng).double().softmax(1)
    t, prior = torch.rand(40, generator=rng).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    t[0], t[1:4], t[4:] = 1.0, 0.95, t[4:] * 0.8  # and one bin without states
    expected = 0.0
    for b in range(10):
        here = [i for i in range(40) if min(int(t[i] * 10), 9) == b]
        pairs = [
            ((p[i] - prior) * (p[j] - prior) / prior).sum().item()
            for i, j in itertools.permutations(here, 2)
        ]
        expected += len(here) / 40 * sum(pairs) / max(len(pairs), 1)
    assert prior_chi2(p, t, prior).item() == pytest.approx(expected)


def test_the_moments_have_no_bias(rng):
    """Their mean over all batches of two draws is chi^2 of the mean."""
    p = torch.randn(5, 3, generator=rng).double().softmax(1)
    t, prior = torch.full((2,), 0.5).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    draws = itertools.product(range(5), repeat=2)
    mean = sum(prior_chi2(p[list(i)], t, prior) for i in draws) / 25
    torch.testing.assert_close(mean, ((p.mean(0) - prior).square() / prior).sum())


# The subsets


def test_one_expert_and_all_experts(rng):
    z = torch.randn(9, 5, generator=rng).double()
    G = gram(torch.randn(5, 9, 7, generator=rng), torch.randn(9, 7, generator=rng)).double()
    p = z.softmax(1)
    torch.testing.assert_close(expected_subset_error(z, G, 1), torch.einsum("bk,bkk->b", p, G))
    torch.testing.assert_close(expected_subset_error(z, G, 5), ensemble_error(p, G))


def test_a_sure_router_is_judged_as_its_policy_will_use_it(rng):
    """As logits grow the drawn subset is the top-k set; its weights keep their ratios."""
    G = make_batch(rng).gram
    z = torch.tensor([[300.0, 299.0, 0.0, -400.0]]).double().expand(12, 4)
    one = 1 / (1 + math.exp(-1))
    w = torch.tensor([[one, 1 - one, 0.0, 0.0]]).double()
    torch.testing.assert_close(expected_subset_error(z, G, 2), ensemble_error(w, G))
    torch.testing.assert_close(expected_subset_error(z, G, 3), ensemble_error(w, G))
    torch.testing.assert_close(
        expected_subset_error(2 * z, G, 1), 0.88079708 * G[:, 0, 0] + 0.11920292 * G[:, 1, 1]
    )


def test_k_is_drawn_from_1_to_max_k_in_equal_parts(rng):
    batch, net = make_batch(rng, num=4), make_net(rng)
    z = net(batch.x, batch.t)
    for u, k in ((0.0, 1), (0.33, 1), (0.34, 2), (0.66, 2), (0.67, 3), (1 - 2**-24, 3)):
        drawn = dataclasses.replace(batch, uniforms=torch.full((4,), u).double())
        expected = expected_subset_error(z, batch.gram, k).mean()
        torch.testing.assert_close(VelocityTopK(3)(net, drawn), expected)


def test_of_many_experts_the_eight_most_probable_are_candidates(rng):
    batch = make_batch(rng, experts=11)
    z = 2 * torch.randn(12, 11, generator=rng).double()
    expected = 0.0
    for i in range(12):
        kept = sorted(range(11), key=lambda k: -z[i, k].item())[:8]
        G = batch.gram[i][kept][:, kept].tolist()
        k = 1 + math.floor(batch.uniforms[i].item() * 3)
        expected += over_subsets(softmax(z[i, kept].tolist()), G, k) / 12
    assert VelocityTopK(3)(lambda x, t: z, batch).item() == pytest.approx(expected)


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


def minimised(loss, *free, steps=200):
    search = torch.optim.LBFGS(
        free,
        max_iter=steps,
        tolerance_grad=1e-10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        search.zero_grad()
        value = loss()
        value.backward()
        return value

    search.step(closure)
    return loss().item()


def trained(objective, batch, states):
    """p of a router that is free in every state; `states` says which are the same state."""
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


# Consistency, where everything is known


def world(num=6000, t=None, seed=3):
    """Three clusters of one Gaussian each, exact experts, states: (mixture, batch, posterior)."""
    g = torch.Generator().manual_seed(seed)
    means = torch.tensor([[1.0, 0.0], [-0.5, 0.8], [-0.4, -1.0]]).double()
    root = torch.tensor([[0.7, 0.2], [0.0, 0.5]]).double()
    weights = torch.tensor([0.5, 0.3, 0.2]).double()
    mixture = GaussianMixture(weights, means, (root @ root.T).expand(3, 2, 2))
    x0, component = mixture.sample(num, g)
    t = torch.rand(num, generator=g).double() if t is None else torch.full((num,), t).double()
    x = paths.add_noise(x0, torch.randn(num, 2, generator=g).double(), t)
    v = torch.stack([mixture.restrict(torch.tensor([k])).velocity(x, t) for k in range(3)])
    u = torch.randn(num, 1, 2, generator=g).double()
    batch = Batch(
        x=x,
        t=t,
        cluster=component,
        distances=torch.zeros(num, 3).double(),
        prior=weights,
        uniforms=torch.rand(num, generator=g).double(),
        directions=u,
        projections=torch.einsum("bjd,kbd->bjk", u, v),
    )
    return mixture, batch


def exact(mixture, temperature=1.0, offset=(0.0, 0.0, 0.0)):
    offset = torch.tensor(offset).double()

    def logits(x, t):
        p = mixture.cluster_posterior(x, t, torch.arange(3), 3)
        return p.log() / temperature + offset * t[:, None]

    return logits


def test_an_exact_router_is_consistent():
    mixture, batch = world()
    p = exact(mixture)(batch.x, batch.t).softmax(1)
    chi = prior_chi2(p, batch.t, batch.prior).item()
    assert abs(chi) < 3e-3  # sampling error of a mean without bias
    only_variance = Consistency()(exact(mixture), batch).item() - chi
    assert abs(only_variance) < 1e-4  # differences over 2 STEP are no slopes


@pytest.mark.parametrize("temperature", [0.5, 0.9, 1.1, 2.0])
def test_a_tempered_router_is_not(temperature):
    mixture, batch = world(num=1000)
    loss = Consistency(1e-9)(exact(mixture, temperature), batch).item()
    # t grad z_k = -((1 - t) / T) (v_k - v): what is left is (1 - 1 / T)^2 of the disagreement
    a = (1 - batch.t[:, None, None]) * batch.projections
    expected = (1 - 1 / temperature) ** 2 * a.var(dim=2, correction=0).mean().item() / 2
    assert loss == pytest.approx(expected, rel=0.02) and expected > 1e-4


def test_the_moments_see_what_the_identity_leaves_open():
    mixture, batch = world()
    router = exact(mixture, offset=(1.0, 0.0, -1.0))
    assert Consistency(1e-12)(router, batch).item() < 1e-4
    chi = prior_chi2(router(batch.x, batch.t).softmax(1), batch.t, batch.prior)
    assert chi > 0.05


def test_consistency_learns_the_posterior_without_labels():
    """Equal covariances: the exact logits are linear in x at one t."""
    mixture, batch = world(t=0.5)
    a = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    minimised(lambda: Consistency()(lambda x, t: x @ a + b, batch), a, b)
    noised = 0.25 * mixture.covs[0] + 0.25 * torch.eye(2).double()
    slope = torch.linalg.solve(noised, 0.5 * mixture.means.T)
    level = mixture.weights.log() - (0.5 * mixture.means * slope.T).sum(1) / 2
    a, b = (c.detach() - c.detach()[..., :1] for c in (a, b))
    torch.testing.assert_close(a, slope - slope[:, :1], atol=0.02, rtol=0.0)
    torch.testing.assert_close(b, level - level[:1], atol=0.08, rtol=0.0)
    p = (batch.x @ a + b).softmax(1)
    truth = mixture.cluster_posterior(batch.x, batch.t, torch.arange(3), 3)
    assert (p - truth).abs().mean() < 0.01


def test_slopes_are_those_of_autograd_to_the_second_order_of_the_step(rng):
    batch, net = make_batch(rng), make_net(rng)
    t_of_points = batch.t.repeat(4)
    z, slopes = directional_derivatives(lambda y: net(y, t_of_points), batch.x, batch.directions)
    torch.testing.assert_close(z, net(batch.x, batch.t), rtol=2e-3, atol=2e-3)
    x = batch.x.clone().requires_grad_()
    for k, z_k in enumerate(net(x, batch.t).unbind(1)):
        (g,) = torch.autograd.grad(z_k.sum(), x, retain_graph=True)
        exact = (batch.directions * g[:, None]).flatten(2).sum(2)
        torch.testing.assert_close(slopes[:, :, k], exact, rtol=5e-3, atol=5e-3)
    long = directional_derivatives(lambda y: net(y, t_of_points), batch.x, 7 * batch.directions)[1]
    torch.testing.assert_close(long, 7 * slopes)  # linear in u, whatever the step
