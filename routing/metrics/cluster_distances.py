"""Distances between the samples and the training images of the same cluster.

The part that `cluster_frechet` and `cluster_kernel` have in common. A sample, like a real image,
belongs to the cluster of its nearest centroid in the partition `metrics.shares_partition`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from routing.metrics.protocol import (
    ArmSamples,
    FeatureSpaceMetric,
    ReferenceSamples,
    Replicates,
)

MIN_CLUSTER_SAMPLES = 2  # a covariance needs two, and so does a pair


@dataclass(frozen=True)
class ClusterDistance(FeatureSpaceMetric):
    """Base class: a distance between the samples of a cluster and its training images.

    The rows are `<name>_cluster_<k>` and `<name>_cluster_worst`, the largest of them. A cluster
    with fewer than two samples in some replicate is left out of the table, and so is
    `<name>_cluster_worst` then; the note of the other rows says so.
    """

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return one distance per cluster with enough samples, and the largest."""
        (kind,) = self.kinds
        name, values = arm.metric_name(kind.removesuffix("_cluster")), {}
        for k in sizes_of_sampled_clusters(arm):
            mine = arm.clusters == k
            value = self.distance(arm, k, arm.features[mine], arm.weights[:, mine])
            values[f"{name}_cluster_{k}"] = value
        if len(values) == len(arm.cluster_shares):
            values[f"{name}_cluster_worst"] = torch.stack([*values.values()]).max(0).values
        return values

    def distance(
        self,
        arm: ArmSamples,
        k: int,
        samples: Float[Tensor, "samples dim"],
        weights: Float[Tensor, "replicates samples"],
    ) -> Float[Tensor, " replicates"]:
        """Return the distance of `samples`, all of cluster `k`, to its training images."""
        raise NotImplementedError

    def note(self, arm: ArmSamples) -> str:
        """Return which clusters are left out, if any."""
        sampled = sizes_of_sampled_clusters(arm)
        missing = [str(k) for k in range(len(arm.cluster_shares)) if k not in sampled]
        if not missing:
            return ""
        word, verb = ("cluster", "has") if len(missing) == 1 else ("clusters", "have")
        return (
            f"no row for {word} {', '.join(missing)}, which {verb} fewer than "
            f"{MIN_CLUSTER_SAMPLES} samples in some replicate"
        )


def sizes_of_sampled_clusters(arm: ArmSamples) -> dict[int, int]:
    """Return the number of samples by cluster, for clusters with enough in every replicate."""
    sizes = {}
    for k in range(len(arm.cluster_shares)):
        mine = arm.clusters == k
        if (arm.weights[:, mine] > 0).sum(1).min() >= MIN_CLUSTER_SAMPLES:
            sizes[k] = int(mine.sum())
    return sizes


def points_by_cluster(real: ReferenceSamples) -> Iterator[Float[Tensor, "_ dim"]]:
    """Iterate over the points of each cluster. Raise ValueError if one has fewer than two."""
    sizes = real.clusters.bincount(minlength=real.num_clusters)
    for k, size in enumerate(sizes.tolist()):
        if size < MIN_CLUSTER_SAMPLES:
            raise ValueError(
                f"wanted at least {MIN_CLUSTER_SAMPLES} training images in every cluster of "
                f"metrics.shares_partition, got {size} in cluster {k}; take another partition, or "
                f"more of metrics.num_references"
            )
    for k in range(real.num_clusters):
        yield real.points[real.clusters == k]
