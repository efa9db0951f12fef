"""The two stages of decentralized diffusion models (arXiv:2501.05450) and MoDE (2404.16030).

    f_1 .. f_M = k-means of a sample of the images, M = num_fine ~ 1024
    c(f_m)     = k-means of the M fine centres into K coarse clusters, each centre counting once
    k(x)       = c(nearest fine centre of x)

A coarse cluster is a union of Voronoi cells and may have any shape. As in MoDE's code the fine
centres are not weighted by the images around them, so `balanced_kmeans` gives coarse clusters of
equally many fine centres, not of images: the report has the sizes that come out.

    # Departs from MoDE: its fine stage is balanced within each batch of an online k-means; here it
    # is plain k-means of one sample. And it assigns fine centres to the nearest coarse one after a
    # balanced fit; here they keep the balance.

Features are normalised, where that is wanted, by the encoder.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from routing.partitions.balanced import balanced
from routing.partitions.base import Clusters, Points, Positions, Space, refuse_below
from routing.partitions.kmeans import kmeans, nearest


@dataclass(frozen=True)
class Inherited:
    """The cluster of the nearest fine centre."""

    fine: Float[np.ndarray, "fine dim"]
    fine_cluster: Int[np.ndarray, " fine"]
    centroids: None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The fine centres and their clusters."""
        return {"fine": self.fine, "fine_cluster": self.fine_cluster}

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """One cluster each."""
        return self.fine_cluster[nearest(x, self.fine)]


@dataclass(frozen=True)
class TwoStage:
    """K-means into `num_fine` centres, of which k-means makes the clusters; DDM's recipe."""

    num_clusters: int
    num_fine: int = 1024
    coarse: Literal["kmeans", "balanced_kmeans"] = "kmeans"
    iterations: int = 50  # of the fine stage, which runs once
    coarse_iterations: int = 100
    restarts: int = 10  # of the coarse stage
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Refuse counts below one, and fewer fine centres than clusters."""
        least = {"num_fine": self.num_clusters, "iterations": 1, "coarse_iterations": 1}
        refuse_below(self, "two_stage", num_clusters=1, restarts=1, max_fit=1, **least)

    def fit(self, space: Space) -> Inherited:
        """ValueError if a fine centre would have fewer than four images on average."""
        x = space.points(self.max_fit, self.num_clusters)
        if self.num_fine > len(x) // 4:
            raise ValueError(
                f"num_fine: wanted at most {len(x) // 4} (a quarter of the training images looked "
                f"at), got {self.num_fine}; lower it"
            )
        fine = kmeans(x, self.num_fine, self.iterations, 1, space.number)
        num, steps = self.num_clusters, self.coarse_iterations
        coarse = kmeans(fine, num, steps, self.restarts, space.number)
        if self.coarse == "balanced_kmeans":
            return Inherited(fine, balanced(fine, coarse, steps)[1])
        return Inherited(fine, nearest(fine, coarse)[:, 0])
