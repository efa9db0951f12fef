"""What a partition method sees, and what it makes: a rule that says who is in which cluster."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

Points = Float[np.ndarray, "rows dim"]
Positions = Int[np.ndarray, " rows"]  # in the index
Clusters = Int[np.ndarray, "rows memberships"]  # no cluster twice in a row
Centroids = Float[np.ndarray, "clusters dim"]
ROWS = 4096  # distances are taken this many rows at a time


@runtime_checkable
class Rule(Protocol):
    """Clusters of any image; a row's answer does not depend on the rows beside it."""

    @property
    def centroids(self) -> Centroids | None:
        """The rule's own; None: those of the clusters' training images are taken."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What the rule needs beside centroids to assign again, by name."""

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """The clusters of the images with features `x` at `positions` of the index."""


@dataclass(frozen=True)
class Space:
    """What a method may look at: columns of the index, and features where it asks for them."""

    labels: Shaped[np.ndarray, " samples"]
    train: Bool[np.ndarray, " samples"]
    take: Callable[[np.ndarray], np.ndarray]  # features float32 [rows, dim] at positions [rows]
    rng: np.random.Generator
    number: int  # the seed of libraries that take nothing better
    like: Int[np.ndarray, "samples memberships"] | None = None  # of the partition named by `like`
    components: Int[np.ndarray, " samples"] | None = None  # in a world of components

    def sample(self, at_most: int) -> Positions:
        """Positions of all training images, or of `at_most` drawn at random; ascending."""
        rows = np.flatnonzero(self.train)
        if len(rows) <= at_most:
            return rows
        return np.sort(self.rng.choice(rows, at_most, replace=False, shuffle=False))

    def points(self, at_most: int, num_clusters: int) -> Points:
        """Features of `sample(at_most)`. ValueError if they are fewer than the clusters."""
        positions = self.sample(at_most)
        if num_clusters > len(positions):
            raise ValueError(
                f"num_clusters: wanted at most {len(positions)} (training images looked at), got "
                f"{num_clusters}; lower it"
            )
        return np.ascontiguousarray(self.take(positions), np.float32)


@dataclass(frozen=True)
class Given:
    """Clusters that follow from the index alone: `clusters[i]` are those of position i."""

    clusters: Int[np.ndarray, "samples memberships"]
    centroids: None = None

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """None: an image outside the index has no cluster."""
        return {}

    def __call__(self, x: Points, positions: Positions) -> Clusters:
        """Look them up."""
        return self.clusters[positions]


def counts(clusters: Clusters, num_clusters: int) -> Int[np.ndarray, " clusters"]:
    """How many memberships each cluster has."""
    return np.bincount(clusters.ravel(), minlength=num_clusters)


def squared_distances(x: Points, centres: Centroids) -> Float[np.ndarray, "rows clusters"]:
    """|x_i - c_k|^2, float64, without the cancellation of |x|^2 - 2 x c + |c|^2."""
    found = np.empty((len(x), len(centres)))
    for first in range(0, len(x), ROWS):
        here = slice(first, first + ROWS)
        block = x[here].astype(np.float64)
        for k, centre in enumerate(centres):
            found[here, k] = np.square(block - centre).sum(axis=1)
    return found


def means(
    x: Points, clusters: Int[np.ndarray, " rows"], num_clusters: int
) -> Float[np.ndarray, "clusters dim"]:
    """The mean of every cluster, float32; no cluster may be empty."""
    each = (x[clusters == k].mean(axis=0, dtype=np.float64) for k in range(num_clusters))
    return np.stack(list(each)).astype(np.float32)


def refuse_below(method: object, name: str, **least: int) -> None:
    """Raise ValueError if an option of the method called `name` is below its least value."""
    for option, value in least.items():
        if getattr(method, option) < value:
            raise ValueError(
                f"{name} wants {option} >= {value}, got {getattr(method, option)}; raise it"
            )
