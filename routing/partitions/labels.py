"""Clusters of whole labels: one cluster per label, or groups where labels outnumber clusters.

    size      each label, largest first, goes into the cluster that is smallest so far. Cluster
              sizes are nearly equal (Graham 1969: the largest is within 4/3 of the optimum), and
              features are not used, so that the partition depends on labels alone;
    features  k-means of the mean features of the labels, weighted by their numbers of images.
              Labels with similar images are grouped, and cluster sizes are not controlled.

Clusters are numbered by their first label: with as many clusters as labels, cluster k is label k.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from routing.partitions.base import (
    FixedAssignment,
    PartitionInputs,
    cluster_means,
    require_at_least,
    squared_distances,
)
from routing.partitions.kmeans import kmeans, nearest

ITERATIONS, RESTARTS = 50, 20  # of the k-means of label means, which is fast


@dataclass(frozen=True)
class Labels:
    """Whole labels: one cluster each in their order, or grouped by size or by features."""

    num_clusters: int
    group: Literal["size", "features"] = "size"
    seed: int = 0
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Validate the options."""
        require_at_least(self, "labels", num_clusters=1, max_fit=1)

    def fit(self, inputs: PartitionInputs) -> FixedAssignment:
        """Return the clusters. Raises ValueError on fewer labels than clusters."""
        names, rank = np.unique(inputs.labels, return_inverse=True)
        if self.num_clusters > len(names):
            raise ValueError(
                f"num_clusters: wanted at most {len(names)} (labels in the data), got "
                f"{self.num_clusters}; lower it"
            )
        if self.group == "size":
            sizes = np.bincount(rank[inputs.is_train], minlength=len(names))
            groups = group_by_size(sizes, self.num_clusters)
        else:
            groups = self._group_by_features(inputs, names, rank)
        return FixedAssignment(renumber_by_first_label(groups)[rank][:, None])

    def _group_by_features(
        self,
        inputs: PartitionInputs,
        names: np.ndarray,
        rank: Int[np.ndarray, " samples"],
    ) -> Int[np.ndarray, " labels"]:
        positions = inputs.training_positions(self.max_fit)
        weights = np.bincount(rank[positions], minlength=len(names))
        if (weights == 0).any():
            raise ValueError(
                f"group: wanted a training image of every label, got none of "
                f"{names[weights.argmin()]} among {len(positions)} sampled images; raise max_fit "
                f"or use group 'size'"
            )
        centres = cluster_means(inputs.features_at(positions), rank[positions], len(names))
        return group_by_features(centres, weights, self.num_clusters, inputs.rng)


def group_by_features(
    centres: Float[np.ndarray, "labels dim"],
    weights: Int[np.ndarray, " labels"],
    num_clusters: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, " labels"]:
    """Return the cluster of each label: weighted k-means of label means, best of RESTARTS."""
    w, best, least = weights.astype(np.float32), None, np.inf
    for seed in rng.integers(2**31, size=RESTARTS):
        coarse = kmeans(centres, num_clusters, ITERATIONS, 1, int(seed), w)
        groups = nearest(centres, coarse)[:, 0]
        # FAISS would choose among its restarts by the unweighted sum.
        squares = weights @ squared_distances(centres, coarse)[np.arange(len(w)), groups]
        if squares < least:
            best, least = groups, squares
    return best


def group_by_size(
    sizes: Int[np.ndarray, " labels"], num_clusters: int
) -> Int[np.ndarray, " labels"]:
    """Return the cluster of each label: largest first, into the smallest so far; ties in order."""
    groups, filled = np.empty(len(sizes), np.int64), np.zeros(num_clusters, np.int64)
    for label in np.argsort(-sizes, kind="stable"):
        groups[label] = filled.argmin()
        filled[groups[label]] += sizes[label]
    return groups


def renumber_by_first_label(groups: Int[np.ndarray, " labels"]) -> Int[np.ndarray, " labels"]:
    """Return the same groups, numbered in the order of their first labels."""
    _, first, which = np.unique(groups, return_index=True, return_inverse=True)
    return first.argsort().argsort()[which]
