"""K-means, by FAISS:  min over c of  sum_i min_k |x_i - c_k|^2 , the best of several starts.

Each image is in the cluster of its nearest centroid, or in those of its two nearest
(`Overlapping`). Then every image counts twice, so that with pi_k = sizes_k / (2 N) and p_k the
images of cluster k  sum_k pi_k p_k = (1 / 2N) sum_i 2 delta(x_i) = p_data : exact experts, mixed
by the posterior of this prior, still are the model of all the data.

Fitting runs on one thread (or the GPU, where FAISS has one): its sums depend on the order.
Assignment runs on all threads of the CPU: a row's distances are summed the same way whatever
stands beside it, given that FAISS is kept from its matrix product (bit for bit; the product's
rounding changes with the number of rows), which costs a factor of two.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from routing.partitions.base import Centroids, Clusters, Points, Positions, Space, refuse_below


def kmeans(
    x: Points,
    num_clusters: int,
    iterations: int,
    restarts: int,
    number: int,
    weights: Float[np.ndarray, " rows"] | None = None,
) -> Centroids:
    """Centroids float32 of the best of `restarts` runs from starts drawn with seed `number`."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        fitted = faiss.Kmeans(
            x.shape[1],
            num_clusters,
            niter=iterations,
            nredo=restarts,
            seed=number,
            min_points_per_centroid=1,
            max_points_per_centroid=len(x),
            gpu=faiss.get_num_gpus() > 0,
        )
        fitted.train(x, weights)
    finally:
        faiss.omp_set_num_threads(threads)
    return fitted.centroids


def nearest(x: Points, centroids: Centroids, num: int = 1) -> Int[np.ndarray, "rows nearest"]:
    """The `num` nearest centroids of each row, nearest first; ties go to the lower index."""
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
class Nearest:
    """The `num` nearest centroids."""

    centroids: Float[np.ndarray, "clusters dim"]
    num: int = 1

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Nothing but the centroids."""
        return {}

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """Nearest first."""
        return nearest(x, self.centroids, self.num)


@dataclass(frozen=True)
class KMeans:
    """K-means of the training features; each image to its nearest centroid."""

    num_clusters: int
    iterations: int = 50
    restarts: int = 10
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        refuse_below(self, "kmeans", num_clusters=1, iterations=1, restarts=1, max_fit=1)

    def fit(self, space: Space) -> Nearest:
        """ValueError if there are fewer training images than clusters."""
        x = space.points(self.max_fit, self.num_clusters)
        return Nearest(kmeans(x, self.num_clusters, self.iterations, self.restarts, space.number))


@dataclass(frozen=True)
class Overlapping:
    """K-means of the training features; each image is in the clusters of its two nearest."""

    num_clusters: int
    iterations: int = 50
    restarts: int = 10
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Refuse counts below one, and one cluster."""
        refuse_below(self, "overlapping", num_clusters=2, iterations=1, restarts=1, max_fit=1)

    def fit(self, space: Space) -> Nearest:
        """ValueError if there are fewer training images than clusters."""
        x = space.points(self.max_fit, self.num_clusters)
        centroids = kmeans(x, self.num_clusters, self.iterations, self.restarts, space.number)
        return Nearest(centroids, num=2)
