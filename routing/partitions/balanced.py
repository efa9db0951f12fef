"""Balanced k-means: clusters of equal size, and a rule that any new image can follow.

    min over c, a of  sum_i |x_i - c_(a_i)|^2  such that each cluster has n / K images, up to one

Lloyd's iteration with the assignment step of `transport`: both steps are exact, so the sum never
grows; it starts from plain k-means. At the optimum the clusters are a power diagram,
a(x) = argmin_k |x - c_k|^2 - b_k  (Aurenhammer, Hoffmann, Aronov, Algorithmica 1998), and the
prices b carry the balance over to images that were not looked at, as far as they are alike.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from routing.partitions.base import (
    Centroids,
    Clusters,
    Points,
    Positions,
    Space,
    means,
    refuse_below,
    squared_distances,
)
from routing.partitions.kmeans import kmeans
from routing.partitions.transport import equal_sizes, transport


@dataclass(frozen=True)
class PowerDiagram:
    """argmin_k |x - c_k|^2 - b_k; ties go to the lower index."""

    centroids: Float[np.ndarray, "clusters dim"]
    bias: Float[np.ndarray, " clusters"]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The prices."""
        return {"bias": self.bias}

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """One cluster each."""
        return (squared_distances(x, self.centroids) - self.bias).argmin(axis=1)[:, None]


def balanced(
    x: Points, centroids: Centroids, iterations: int
) -> tuple[PowerDiagram, Int[np.ndarray, " rows"]]:
    """Iterate from `centroids` until nothing changes: the rule, and the clusters of `x` itself."""
    num_clusters = len(centroids)
    capacity = equal_sizes(len(x), num_clusters)
    clusters, bias = transport(squared_distances(x, centroids).T, capacity)
    for _ in range(iterations):
        centroids = means(x, clusters, num_clusters)
        again, bias = transport(squared_distances(x, centroids).T, capacity, bias)
        is_done = np.array_equal(again, clusters)
        clusters = again
        if is_done:
            break
    return PowerDiagram(centroids, bias), clusters


@dataclass(frozen=True)
class BalancedKMeans:
    """K-means with clusters of equal size on the training images that are looked at."""

    num_clusters: int
    iterations: int = 50
    restarts: int = 10
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        refuse_below(self, "balanced_kmeans", num_clusters=1, iterations=1, restarts=1, max_fit=1)

    def fit(self, space: Space) -> PowerDiagram:
        """ValueError if there are fewer training images than clusters."""
        x = space.points(self.max_fit, self.num_clusters)
        start = kmeans(x, self.num_clusters, self.iterations, self.restarts, space.number)
        return balanced(x, start, self.iterations)[0]
