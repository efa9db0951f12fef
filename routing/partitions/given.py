"""Partitions that follow from the index alone: at random, or by the components of a world."""

from dataclasses import dataclass

import numpy as np

from routing.partitions.base import Given, Space, refuse_below


@dataclass(frozen=True)
class Random:
    """Clusters drawn at random with the sizes of the partition `like`, split by split.

    If that one overlaps, an image gets both clusters of another: the pairs stay together.
    """

    like: str
    seed: int = 0

    def fit(self, space: Space) -> Given:
        """Permute the other partition's clusters within train and within held-out."""
        clusters = space.like.copy()
        for rows in _splits(space):
            clusters[rows] = space.rng.permutation(clusters[rows])
        return Given(clusters)


@dataclass(frozen=True)
class RandomEqual:
    """Clusters drawn at random, of equal size up to one in train and in held-out."""

    num_clusters: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse no clusters."""
        refuse_below(self, "random_equal", num_clusters=1)

    def fit(self, space: Space) -> Given:
        """Permute 0, 1, .., K - 1, 0, 1, .. within each split."""
        clusters = np.empty((len(space.train), 1), np.int64)
        for rows in _splits(space):
            clusters[rows, 0] = space.rng.permutation(np.arange(len(rows)) % self.num_clusters)
        return Given(clusters)


@dataclass(frozen=True)
class Components:
    """Whole components of a mixture: component c is in cluster `clusters[c]`."""

    num_clusters: int
    clusters: tuple[int, ...]

    def fit(self, space: Space) -> Given:
        """ValueError if there are no components, or other ones."""
        if space.components is None:
            raise ValueError(
                "clusters: wanted data.source 'mixture', got a source without components; take "
                "another method"
            )
        num = space.components.max() + 1
        if len(self.clusters) != num or set(self.clusters) != set(range(self.num_clusters)):
            raise ValueError(
                f"clusters: wanted {num} (components), each of 0..{self.num_clusters - 1} at "
                f"least once, got {list(self.clusters)}; correct it"
            )
        return Given(np.asarray(self.clusters)[space.components][:, None])


def _splits(space: Space) -> tuple[np.ndarray, np.ndarray]:
    return np.flatnonzero(space.train), np.flatnonzero(~space.train)
