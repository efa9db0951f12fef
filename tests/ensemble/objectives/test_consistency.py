"""The objective `consistency`: by loop, and on a Gaussian mixture with exact experts."""

import itertools

import pytest
import torch
from objective_batches import EXPERTS, make_batch, make_net, minimised

from routing.ensemble.objectives import Batch
from routing.ensemble.objectives.consistency import (
    Consistency,
    directional_derivatives,
    prior_chi2,
)
from routing.flow import paths
from routing.flow.exact_worlds import GaussianMixture


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


def test_prior_chi2_by_loop(rng):
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


def test_prior_chi2_has_no_bias(rng):
    """Their mean over all batches of two draws is chi^2 of the mean."""
    p = torch.randn(5, 3, generator=rng).double().softmax(1)
    t, prior = torch.full((2,), 0.5).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    draws = itertools.product(range(5), repeat=2)
    mean = sum(prior_chi2(p[list(i)], t, prior) for i in draws) / 25
    torch.testing.assert_close(mean, ((p.mean(0) - prior).square() / prior).sum())


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
def test_a_tempered_router_is_not_consistent(temperature):
    mixture, batch = world(num=1000)
    loss = Consistency(1e-9)(exact(mixture, temperature), batch).item()
    # t grad z_k = -((1 - t) / T) (v_k - v): what is left is (1 - 1 / T)^2 of the disagreement
    a = (1 - batch.t[:, None, None]) * batch.projections
    expected = (1 - 1 / temperature) ** 2 * a.var(dim=2, correction=0).mean().item() / 2
    assert loss == pytest.approx(expected, rel=0.02) and expected > 1e-4


def test_prior_chi2_determines_what_the_identity_leaves_open():
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


def test_derivatives_are_those_of_autograd_to_second_order_in_the_step(rng):
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
