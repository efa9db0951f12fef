"""What the tests of `confidence` and `density` share: a mixture, its experts, exact distances."""

import numpy as np
import torch

from routing.ensemble.routers import Prediction
from routing.flow.exact_worlds import GaussianMixture

WORLD = GaussianMixture(
    torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
    torch.tensor([[-2.0, 0.0], [0.0, 3.0], [2.0, 0.0], [2.0, -2.0]], dtype=torch.float64),
    torch.tensor([[0.25, 0.05], [0.05, 0.4]], dtype=torch.float64).repeat(4, 1, 1),
)
CLUSTERS = {3: torch.tensor([0, 1, 2, 2]), 4: torch.arange(4)}
PRIOR = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def prior(num_experts):
    owner = CLUSTERS[num_experts]
    return torch.stack([WORLD.weights[owner == k].sum() for k in range(num_experts)])


def parts(num_experts):
    owner = CLUSTERS[num_experts]
    return [WORLD.restrict((owner == k).nonzero()[:, 0]) for k in range(num_experts)]


def divergence(field, x, t):
    x = x.detach().requires_grad_()
    v = field(x, t).sum(0)
    columns = [torch.autograd.grad(v[i], x, retain_graph=True)[0][:, i] for i in range(x.shape[1])]
    return sum(columns)


def evaluate_all(experts, x, t, reads="divergences"):
    """Velocities of all experts, and what else the router reads."""
    v = torch.stack([e.velocity(x, t) for e in experts], 1)
    if reads == "velocities":
        return v, None
    return v, torch.stack([divergence(e.velocity, x, t) for e in experts], 1)


def distances(router, sampler, num_experts, num=200):
    """Total variation of the router's posterior from the true one, [calls samples], the
    ensemble being steered by the router itself."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(num, 2, generator=g, dtype=torch.float64)
    experts, carry, found = parts(num_experts), router.start(x, None), []

    def velocity(x, t, step):
        nonlocal carry
        p = router.posterior(x, t, carry)
        velocities, divergences = evaluate_all(experts, x, t, router.reads)
        v = (p[..., None] * velocities).sum(1)
        carry = router.observe(x, t, Prediction(v, velocities, divergences), carry)
        exact = WORLD.cluster_posterior(x, t, CLUSTERS[num_experts], num_experts)
        found.append((p - exact).abs().sum(1) / 2)
        return v

    z = torch.randn(sampler.num_steps, num, 2, generator=g, dtype=torch.float64)
    sampler(velocity, x, None, z.__getitem__)
    return torch.stack(found)


def slope(errors, steps):
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def random_prediction(shape, rng):
    v, other, far = torch.randn(3, *shape, generator=rng, dtype=torch.float64)
    divergences = torch.randn(shape[0], 3, generator=rng, dtype=torch.float64)
    return Prediction(v, torch.stack([v, other, 2 * far], 1), divergences)


def at(t, batch):
    return torch.full((batch,), t, dtype=torch.float64)
