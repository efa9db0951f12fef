"""K-means:  k(x) = argmin_k |x - c_k|^2 , with centroids c of the training features, by FAISS.

Fitting runs on one thread (or on the GPU, if FAISS has one), because its sums depend on the order.
Assignment runs on all threads of the CPU. FAISS is kept from using its matrix product, whose
rounding depends on the number of rows: without it, the result of a row does not depend on the
other rows, bit for bit, at twice the time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from routing.partitions.base import (
    Centroids,
    Clusters,
    PartitionInputs,
    Points,
    Positions,
    require_at_least,
)


def kmeans(
    x: Points,
    num_clusters: int,
    iterations: int,
    restarts: int,
    seed: int,
    weights: Float[np.ndarray, " rows"] | None = None,
) -> Centroids:
    """Return the centroids (float32) of the best of `restarts` runs with random starts."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        fitted = faiss.Kmeans(
            x.shape[1],
            num_clusters,
            niter=iterations,
            nredo=restarts,
            seed=seed,
            min_points_per_centroid=1,
            max_points_per_centroid=len(x),
            gpu=faiss.get_num_gpus() > 0,
        )
        fitted.train(x, weights)
    finally:
        faiss.omp_set_num_threads(threads)
    return fitted.centroids


def nearest(x: Points, centroids: Centroids, num: int = 1) -> Int[np.ndarray, "rows nearest"]:
    """Return the `num` nearest centroids of each row, in order; ties go to the lower index."""
    import faiss

    index = faiss.IndexFlatL2(x.shape[1])
    index.add(np.ascontiguousarray(centroids, np.float32))
    with _row_by_row(faiss):
        return index.search(np.ascontiguousarray(x, np.float32), num)[1]


@contextmanager
def _row_by_row(faiss) -> Iterator[None]:
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 2**31 - 1
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


@dataclass(frozen=True)
class NearestCentroids:
    """The rule that assigns each image to the clusters of its `num` nearest centroids."""

    centroids: Float[np.ndarray, "clusters dim"]
    num: int = 1

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """No arrays besides the centroids."""
        return {}

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """Return the clusters of each row, nearest first."""
        return nearest(x, self.centroids, self.num)


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
