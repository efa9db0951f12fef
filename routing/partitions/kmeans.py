"""K-means:  k(x) = argmin_k |x - c_k|^2 , with centroids c of the training features."""

from dataclasses import dataclass

from routing.partitions.base import PartitionInputs, require_at_least
from routing.partitions.faiss_kmeans import NearestCentroids, kmeans


@dataclass(frozen=True)
class KMeans:
    """K-means of the training features; each image is in the cluster of its nearest centroid."""

    num_clusters: int
    iterations: int = 50
    restarts: int = 10
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Validate the options."""
        require_at_least(self, "kmeans", num_clusters=1, iterations=1, restarts=1, max_fit=1)

    def fit(self, inputs: PartitionInputs) -> NearestCentroids:
        """Return the fitted rule. Raises ValueError on fewer training images than clusters."""
        x = inputs.training_features(self.max_fit, self.num_clusters)
        centroids = kmeans(x, self.num_clusters, self.iterations, self.restarts, inputs.faiss_seed)
        return NearestCentroids(centroids)
