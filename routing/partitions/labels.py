"""Clusters of whole labels: one each, or several together where labels outnumber clusters.

    size      the largest label first, into the smallest cluster so far: sizes nearly equal (Graham
              1969: the largest cluster is within 4/3 of the best), and no look at features, so
              that the partition is of labels and nothing else;
    features  k-means of the labels' mean features, each weighing as many images as it has: labels
              that look alike together, sizes as they come.

Clusters are numbered by their first label: with as many clusters as labels, cluster k is label k.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from routing.partitions.base import Given, Space, means, refuse_below, squared_distances
from routing.partitions.kmeans import kmeans, nearest

ITERATIONS, RESTARTS = 50, 20  # of k-means of a few points: nothing to be saved


@dataclass(frozen=True)
class Labels:
    """Whole labels: one cluster each in their order, or grouped by size or by features."""

    num_clusters: int
    group: Literal["size", "features"] = "size"
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        refuse_below(self, "labels", num_clusters=1, max_fit=1)

    def fit(self, space: Space) -> Given:
        """ValueError if there are fewer labels than clusters."""
        names, rank = np.unique(space.labels, return_inverse=True)
        if self.num_clusters > len(names):
            raise ValueError(
                f"num_clusters: wanted at most {len(names)} (labels in the data), got "
                f"{self.num_clusters}; lower it"
            )
        if self.group == "size":
            sizes = np.bincount(rank[space.train], minlength=len(names))
            groups = packed(sizes, self.num_clusters)
        else:
            groups = self._alike(space, names, rank)
        return Given(in_order(groups)[rank][:, None])

    def _alike(
        self,
        space: Space,
        names: np.ndarray,
        rank: Int[np.ndarray, " samples"],
    ) -> Int[np.ndarray, " labels"]:
        positions = space.sample(self.max_fit)
        weights = np.bincount(rank[positions], minlength=len(names))
        if (weights == 0).any():
            raise ValueError(
                f"group: wanted a training image of every label, got none of "
                f"{names[weights.argmin()]} among the {len(positions)} looked at; raise max_fit "
                f"or take group 'size'"
            )
        centres = means(space.take(positions), rank[positions], len(names))
        return alike(centres, weights, self.num_clusters, space.rng)


def alike(
    centres: Float[np.ndarray, "labels dim"],
    weights: Int[np.ndarray, " labels"],
    num_clusters: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, " labels"]:
    """Weighted k-means of the labels' means, the best of RESTARTS: the cluster of each label."""
    w, best, least = weights.astype(np.float32), None, np.inf
    for number in rng.integers(2**31, size=RESTARTS):
        coarse = kmeans(centres, num_clusters, ITERATIONS, 1, int(number), w)
        groups = nearest(centres, coarse)[:, 0]
        # FAISS would choose among its restarts by the unweighted sum.
        squares = weights @ squared_distances(centres, coarse)[np.arange(len(w)), groups]
        if squares < least:
            best, least = groups, squares
    return best


def packed(sizes: Int[np.ndarray, " labels"], num_clusters: int) -> Int[np.ndarray, " labels"]:
    """The cluster of each label: largest first, into the smallest so far; ties in order."""
    groups, filled = np.empty(len(sizes), np.int64), np.zeros(num_clusters, np.int64)
    for label in np.argsort(-sizes, kind="stable"):
        groups[label] = filled.argmin()
        filled[groups[label]] += sizes[label]
    return groups


def in_order(groups: Int[np.ndarray, " labels"]) -> Int[np.ndarray, " labels"]:
    """The same groups, numbered by their first label."""
    _, first, which = np.unique(groups, return_index=True, return_inverse=True)
    return first.argsort().argsort()[which]
