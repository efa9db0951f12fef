"""The objective `cluster`: cross-entropy against the cluster of x_0.

    loss = -log p_c ,  c the cluster of x_0

Sources: DDM (McAllister et al. 2025, arXiv:2501.05450), Paris (arXiv:2510.03434).
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from routing.ensemble.objectives.base import Batch, Loss, Network


@dataclass(frozen=True)
class Cluster:
    """Cross-entropy against the cluster of x_0; its minimum is the posterior p(k | x_t, t)."""

    reads: ClassVar[str] = "images"

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Return the mean of -log p_c."""
        return F.cross_entropy(logits(batch.x, batch.t), batch.cluster.long())
