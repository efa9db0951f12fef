"""Overlapping k-means: each image is in the clusters of its two nearest centroids.

Every image counts twice. With pi_k = sizes_k / (2 N) and p_k the data of cluster k

    sum_k pi_k p_k = (1 / 2N) sum_i 2 delta(x_i) = p_data

so exact experts, weighted by the posterior for this prior, are still the model of all the data.
"""

from dataclasses import dataclass

from routing.partitions.base import PartitionInputs, require_at_least
from routing.partitions.kmeans import NearestCentroids, kmeans


@dataclass(frozen=True)
class Overlapping:
    """K-means of the training features; each image is in the clusters of its two nearest."""

    num_clusters: int
    iterations: int = 50
    restarts: int = 10
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Validate the options."""
        require_at_least(self, "overlapping", num_clusters=2, iterations=1, restarts=1, max_fit=1)

    def fit(self, inputs: PartitionInputs) -> NearestCentroids:
        """Return the fitted rule. Raises ValueError on fewer training images than clusters."""
        x = inputs.training_features(self.max_fit, self.num_clusters)
        centroids = kmeans(x, self.num_clusters, self.iterations, self.restarts, inputs.faiss_seed)
        return NearestCentroids(centroids, num=2)
