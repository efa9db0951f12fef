"""The inputs of a partition method, and the rule it fits, which assigns images to clusters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Points = Float[np.ndarray, "rows dim"]
Positions = Int[np.ndarray, " rows"]  # row numbers in the index of the data
Clusters = Int[np.ndarray, "rows memberships"]  # no cluster twice in a row
Centroids = Float[np.ndarray, "clusters dim"]
ROWS = 4096  # number of rows whose distances are computed at a time


@runtime_checkable
class AssignmentRule(Protocol):
    """Assigns any image to clusters; the result of a row does not depend on the other rows."""

    @property
    def centroids(self) -> Centroids | None:
        """The centroids of the rule; None if they are the means of the training images."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays, by name, that the rule needs besides centroids to assign new images."""

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """Return the clusters of the images with features `x` at `positions` of the index."""


@dataclass(frozen=True)
class PartitionInputs:
    """The data that a partition method may use: index columns, and features on request."""

    labels: Shaped[np.ndarray, " samples"]
    is_train: Bool[np.ndarray, " samples"]
    features_at: Callable[[np.ndarray], np.ndarray]  # positions [rows] -> float32 [rows, dim]
    rng: np.random.Generator
    faiss_seed: int  # for FAISS, which does not take a generator
    like: Int[np.ndarray, "samples memberships"] | None = None  # of the partition named by `like`
    components: Int[np.ndarray, " samples"] | None = None  # of the mixture, for exact worlds

    def training_positions(self, at_most: int) -> Positions:
        """Return all training positions, or `at_most` of them drawn at random, ascending."""
        rows = np.flatnonzero(self.is_train)
        if len(rows) <= at_most:
            return rows
        return np.sort(self.rng.choice(rows, at_most, replace=False, shuffle=False))

    def training_features(self, at_most: int, num_clusters: int) -> Points:
        """Return the features of `training_positions(at_most)`.

        Raises ValueError if they are fewer than the clusters.
        """
        positions = self.training_positions(at_most)
        if num_clusters > len(positions):
            raise ValueError(
                f"num_clusters: wanted at most {len(positions)} (sampled training images), got "
                f"{num_clusters}; lower it"
            )
        return np.ascontiguousarray(self.features_at(positions), np.float32)


@dataclass(frozen=True)
class FixedAssignment:
    """A rule that does not use features: `clusters[i]` are the clusters of position i."""

    clusters: Int[np.ndarray, "samples memberships"]
    centroids: None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """No arrays: an image outside the index cannot be assigned."""
        return {}

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """Return the clusters at `positions`."""
        return self.clusters[positions]


def split_positions(inputs: PartitionInputs) -> tuple[np.ndarray, np.ndarray]:
    """Return the training positions and the held-out positions."""
    return np.flatnonzero(inputs.is_train), np.flatnonzero(~inputs.is_train)


def count_memberships(clusters: Clusters, num_clusters: int) -> Int[np.ndarray, " clusters"]:
    """Return the number of memberships of each cluster."""
    return np.bincount(clusters.ravel(), minlength=num_clusters)


def squared_distances(x: Points, centres: Centroids) -> Float[np.ndarray, "rows clusters"]:
    """Return |x_i - c_k|^2 in float64, without the cancellation of |x|^2 - 2 x c + |c|^2."""
    found = np.empty((len(x), len(centres)))
    for first in range(0, len(x), ROWS):
        here = slice(first, first + ROWS)
        block = x[here].astype(np.float64)
        for k, centre in enumerate(centres):
            found[here, k] = np.square(block - centre).sum(axis=1)
    return found


def cluster_means(
    x: Points, clusters: Int[np.ndarray, " rows"], num_clusters: int
) -> Float[np.ndarray, "clusters dim"]:
    """Return the mean of each cluster in float32; no cluster may be empty."""
    each = (x[clusters == k].mean(axis=0, dtype=np.float64) for k in range(num_clusters))
    return np.stack(list(each)).astype(np.float32)


def require_at_least(method: object, name: str, **minimums: int) -> None:
    """Raise ValueError if an option of the method called `name` is below its minimum."""
    for option, value in minimums.items():
        if getattr(method, option) < value:
            raise ValueError(
                f"{name} wants {option} >= {value}, got {getattr(method, option)}; raise it"
            )
