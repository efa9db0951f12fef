"""What the tests of routers share: a mixture in three clusters, its states, labels and logits."""

import torch

from routing.flow.exact_worlds import GaussianMixture
from routing.flow.paths import add_noise

BATCH, DIM = 12, 2
PRIOR = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
CENTROIDS = torch.tensor([[-2.0, 0.0], [0.0, 3.0], [2.0, -1.0]], dtype=torch.float64)
WORLD = GaussianMixture(
    torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64),
    torch.tensor([[-2.0, 0.0], [0.0, 3.0], [2.0, 0.0], [2.0, -2.0]], dtype=torch.float64),
    torch.eye(DIM, dtype=torch.float64).repeat(4, 1, 1) * 0.25,
)
CLUSTERS = torch.tensor([0, 1, 2, 2])
LABELS = torch.arange(BATCH) % 3


def itself(x0):
    return x0


def logits(x, t):
    return torch.stack([x[:, 0], x[:, 1], t], dim=1)


COUNTS = torch.tensor([[3, 0, 0], [1, 0, 0], [4, 0, 1]])  # 8, none and 1 images of labels 0, 1, 2


def states(rng):
    x0, _ = WORLD.sample(BATCH, rng)
    eps = torch.randn(BATCH, DIM, dtype=torch.float64, generator=rng)
    t = torch.rand(BATCH, dtype=torch.float64, generator=rng)
    return add_noise(x0, eps, t), t
