"""The objective `soft_cluster`: cross-entropy against memberships by distance to the centroids.

loss = -sum_k q_k log p_k ,  q_k ~ pi_k exp(-d_k^2 / (2 temperature^2))
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from routing.ensemble.objectives.base import Batch, Loss, Network, check_positive


@dataclass(frozen=True)
class SoftCluster:
    """Cross-entropy against memberships that fall with the distance to the centroids.

    They are the posterior of a mixture of isotropic Gaussians of equal variance, as in the router
    `nearest_centroid`. As `temperature` (in units of the distances) goes to 0 they become hard
    labels. As it grows they become the prior, to which a router should fall back where the
    features hold no information; without the prior it would favour small clusters.
    """

    reads: ClassVar[str] = "images"
    temperature: float = 1.0

    def __post_init__(self):
        """Validate the options."""
        check_positive(self, "temperature")

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Return the mean of -sum_k q_k log p_k."""
        log_q = batch.prior.log() - batch.distances.square() / (2 * self.temperature**2)
        return F.cross_entropy(logits(batch.x, batch.t), log_q.softmax(1))
