"""Small Gaussian mixtures with closed forms, for several test files."""

import torch

from routing.flow import paths
from routing.flow.exact_worlds import GaussianMixture, LabelledMixture

CLUSTERS = torch.tensor([0, 0, 1, 1, 2, 2])  # cluster 2 has no label 1, cluster 1 no label 2
LABELS = torch.tensor([0, 1, 0, 1, 0, 2])
NUM_CLUSTERS, NUM_LABELS = 3, 3
NULL = NUM_LABELS


def labelled(dim=2, dtype=torch.float64):
    """Six components in three clusters, with three labels that are not the clusters."""
    g = torch.Generator().manual_seed(3)
    weights = torch.tensor([0.1, 0.15, 0.2, 0.25, 0.2, 0.1], dtype=torch.float64)
    means = 1.2 * torch.randn(6, dim, generator=g, dtype=torch.float64)
    roots = 0.4 * torch.randn(6, dim, dim, generator=g, dtype=torch.float64)
    covs = roots @ roots.mT + 0.1 * torch.eye(dim, dtype=torch.float64)
    mixture = GaussianMixture(weights.to(dtype), means.to(dtype), covs.to(dtype))
    return LabelledMixture(mixture, LABELS, NUM_LABELS)


def members(k):
    """The components of cluster k."""
    return (CLUSTERS == k).nonzero().flatten()


def exact_experts(world):
    """One per cluster, conditional where the world is."""
    return [world.restrict(members(k)).velocity for k in range(NUM_CLUSTERS)]


def prior(mixture):
    """The weight of each cluster."""
    shares = [mixture.weights[members(k)].sum() for k in range(NUM_CLUSTERS)]
    return torch.stack(shares)


def states(mixture, num, t, rng):
    """`num` points x_t that the data really visits."""
    x0, _ = mixture.sample(num, rng)
    t = torch.full((num,), t, dtype=x0.dtype)
    return paths.add_noise(x0, torch.randn(x0.shape, generator=rng, dtype=x0.dtype), t), t
