"""Objectives with a target for p: the cluster of x_0, its neighbours, the better experts."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from routing.ensemble.gram_matrix import expert_errors
from routing.ensemble.objectives.base import Batch, Loss, Network, positive, read


@dataclass(frozen=True)
class Cluster:
    """Cross-entropy against the cluster of x_0: least at the posterior p(cluster | x_t, t)."""

    reads: ClassVar[str] = "images"

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Mean of -log p_c."""
        return F.cross_entropy(logits(batch.x, batch.t), batch.cluster.long())


@dataclass(frozen=True)
class SoftCluster:
    """Cross-entropy against memberships that fall with the distance to the centroids.

    They are those of a mixture of equal round Gaussians, as the router nearest_centroid has
    them; hard labels as `temperature` (in units of the distances) goes to 0. The prior is part
    of them: as the temperature grows they tend to it, and so does the router, which should say
    the prior where features say nothing; without, it would come to favour small clusters.
    """

    reads: ClassVar[str] = "images"
    temperature: float = 1.0

    def __post_init__(self):
        positive(self, "temperature")

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Mean of -sum_k q_k log p_k."""
        log_q = batch.prior.log() - batch.distances.square() / (2 * self.temperature**2)
        return F.cross_entropy(logits(batch.x, batch.t), log_q.softmax(1))


@dataclass(frozen=True)
class ExpertError:
    """Cross-entropy against softmax(-error / tau): least at its mean over states alike.

    `tau` is in the units of G, squared error per dimension; as it goes to 0 the router learns
    how often each expert is the best.
    """

    reads: ClassVar[str] = "probe"
    tau: float = 0.1

    def __post_init__(self):
        positive(self, "tau")

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Mean of -sum_k q_k log p_k."""
        (G,) = read(batch, "expert_error", "gram")
        return F.cross_entropy(logits(batch.x, batch.t), (-expert_errors(G) / self.tau).softmax(1))
