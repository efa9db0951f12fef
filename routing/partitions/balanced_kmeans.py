"""Balanced k-means: clusters of equal size, and a rule that assigns new images.

    min over c, a of  sum_i |x_i - c_(a_i)|^2  such that each cluster has n / K images, up to one

Lloyd's iteration with the assignment step of `transport`, started from plain k-means. Both steps
are exact, so the sum never grows. At the optimum the clusters are a power diagram,
a(x) = argmin_k |x - c_k|^2 - b_k  (Aurenhammer, Hoffmann, Aronov, Algorithmica 1998). The prices b
keep new images balanced as well, if these are distributed like the fitted ones.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from routing.partitions.base import (
    Centroids,
    Clusters,
    PartitionInputs,
    Points,
    Positions,
    cluster_means,
    require_at_least,
    squared_distances,
)
from routing.partitions.equal_size_assignment import equal_cluster_sizes, transport
from routing.partitions.kmeans import kmeans


@dataclass(frozen=True)
class PowerDiagram:
    """The rule  argmin_k |x - c_k|^2 - b_k ; ties go to the lower index."""

    centroids: Float[np.ndarray, "clusters dim"]
    bias: Float[np.ndarray, " clusters"]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The prices b."""
        return {"bias": self.bias}

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """Return one cluster for each row."""
        return (squared_distances(x, self.centroids) - self.bias).argmin(axis=1)[:, None]


def balanced_kmeans(
    x: Points, centroids: Centroids, iterations: int
) -> tuple[PowerDiagram, Int[np.ndarray, " rows"]]:
    """Iterate from `centroids` until nothing changes; return the rule and the clusters of `x`."""
    num_clusters = len(centroids)
    capacity = equal_cluster_sizes(len(x), num_clusters)
    clusters, bias = transport(squared_distances(x, centroids).T, capacity)
    for _ in range(iterations):
        centroids = cluster_means(x, clusters, num_clusters)
        again, bias = transport(squared_distances(x, centroids).T, capacity, bias)
        is_done = np.array_equal(again, clusters)
        clusters = again
        if is_done:
            break
    return PowerDiagram(centroids, bias), clusters


@dataclass(frozen=True)
class BalancedKMeans:
    """K-means with clusters of equal size on the sampled training images."""

    num_clusters: int
    iterations: int = 50
    restarts: int = 10
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Validate the options."""
        minimums = {"num_clusters": 1, "iterations": 1, "restarts": 1, "max_fit": 1}
        require_at_least(self, "balanced_kmeans", **minimums)

    def fit(self, inputs: PartitionInputs) -> PowerDiagram:
        """Return the fitted rule. Raises ValueError on fewer training images than clusters."""
        x = inputs.training_features(self.max_fit, self.num_clusters)
        start = kmeans(x, self.num_clusters, self.iterations, self.restarts, inputs.faiss_seed)
        return balanced_kmeans(x, start, self.iterations)[0]
