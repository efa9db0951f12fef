"""Two-stage k-means of decentralized diffusion models (arXiv:2501.05450) and MoDE (2404.16030).

    f_1 .. f_M = k-means of a sample of the images, M = num_fine ~ 1024
    c(f_m)     = k-means of the M fine centres into K coarse clusters, each centre counting once
    k(x)       = c(nearest fine centre of x)

A coarse cluster is a union of Voronoi cells and may have any shape. As in MoDE's code, fine
centres are not weighted by their numbers of images. With `balanced_kmeans`, coarse clusters
therefore have equally many fine centres, not images; the stage partition reports their sizes.

    # Departs from MoDE: its fine stage is an online k-means that is balanced within each batch;
    # here it is plain k-means of one sample. After a balanced fit, MoDE assigns fine centres to
    # their nearest coarse centre; here they keep the balanced assignment.

Features are normalised by the encoder, if at all.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from routing.partitions.balanced_kmeans import balanced_kmeans
from routing.partitions.base import (
    Clusters,
    PartitionInputs,
    Points,
    Positions,
    require_at_least,
)
from routing.partitions.kmeans import kmeans, nearest


@dataclass(frozen=True)
class FineCentreAssignment:
    """The rule that assigns each image to the cluster of its nearest fine centre."""

    fine: Float[np.ndarray, "fine dim"]
    fine_cluster: Int[np.ndarray, " fine"]
    centroids: None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The fine centres and their clusters."""
        return {"fine": self.fine, "fine_cluster": self.fine_cluster}

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """Return one cluster for each row."""
        return self.fine_cluster[nearest(x, self.fine)]


@dataclass(frozen=True)
class TwoStage:
    """K-means into `num_fine` centres, then k-means of these centres into the clusters."""

    num_clusters: int
    num_fine: int = 1024
    coarse: Literal["kmeans", "balanced_kmeans"] = "kmeans"
    iterations: int = 50  # of the fine stage, which runs once
    coarse_iterations: int = 100
    restarts: int = 10  # of the coarse stage
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Validate the options."""
        minimums = {"num_fine": self.num_clusters, "iterations": 1, "coarse_iterations": 1}
        require_at_least(self, "two_stage", num_clusters=1, restarts=1, max_fit=1, **minimums)

    def fit(self, inputs: PartitionInputs) -> FineCentreAssignment:
        """Return the fitted rule.

        Raises ValueError if a fine centre would have fewer than four images on average.
        """
        x = inputs.training_features(self.max_fit, self.num_clusters)
        if self.num_fine > len(x) // 4:
            raise ValueError(
                f"num_fine: wanted at most {len(x) // 4} (a quarter of the sampled training "
                f"images), got {self.num_fine}; lower it"
            )
        fine = kmeans(x, self.num_fine, self.iterations, 1, inputs.faiss_seed)
        num, steps = self.num_clusters, self.coarse_iterations
        coarse = kmeans(fine, num, steps, self.restarts, inputs.faiss_seed)
        if self.coarse == "balanced_kmeans":
            return FineCentreAssignment(fine, balanced_kmeans(fine, coarse, steps)[1])
        return FineCentreAssignment(fine, nearest(fine, coarse)[:, 0])
