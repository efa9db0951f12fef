"""Frechet distance cluster by cluster."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from routing.metrics.cluster_distances import (
    ClusterDistance,
    points_by_cluster,
    sizes_of_sampled_clusters,
)
from routing.metrics.formulas.frechet_distance import (
    FrechetReference,
    frechet_distance,
    sample_size_note,
)
from routing.metrics.protocol import ArmSamples, Kind, ReferenceSamples


@dataclass(frozen=True)
class ClusterFrechetReference:
    """A Gaussian per cluster. Float64; the roots are padded with zero columns to equal width."""

    mean: Float[Tensor, "clusters dim"]
    root: Float[Tensor, "clusters dim rank"]

    def cluster(self, k: int) -> FrechetReference:
        """Return the Gaussian of cluster `k`."""
        root = self.root[k]
        return FrechetReference(self.mean[k], root[:, root.abs().sum(0) > 0])


@dataclass(frozen=True)
class ClusterFrechet(ClusterDistance):
    """Frechet distance between the samples of a cluster and its training images; lower is better.

    Its bias falls with the number of samples in the cluster, which differs between clusters and
    arms: the worst cluster may only be the smallest one. `cluster_kernel` has no bias.
    """

    kinds: ClassVar = {"frechet_cluster": Kind(-1)}
    reference_type: ClassVar = ClusterFrechetReference

    def fit(self, real: ReferenceSamples) -> ClusterFrechetReference:
        """Return the moments of each cluster. Raise ValueError if one has under two images."""
        num, dim = real.num_clusters, real.points.shape[1]
        width = min(dim, int(real.clusters.bincount().max()))
        mean = torch.zeros(num, dim, dtype=torch.float64)
        root = torch.zeros(num, dim, width, dtype=torch.float64)  # gigabytes for many clusters
        for k, y in enumerate(points_by_cluster(real)):
            fitted = FrechetReference.fit(y)
            mean[k], root[k, :, : fitted.root.shape[1]] = fitted.mean, fitted.root
        return ClusterFrechetReference(mean, root)

    def distance(self, arm: ArmSamples, k: int, samples: Tensor, weights: Tensor) -> Tensor:
        """Return the distance of `samples` to the Gaussian of cluster `k`."""
        return frechet_distance(samples, arm.reference.cluster(k), weights)

    def note(self, arm: ArmSamples) -> str:
        """Return a caveat about the smallest cluster, and which clusters are left out."""
        sizes = sizes_of_sampled_clusters(arm)
        if not sizes:
            return super().note(arm)
        k = min(sizes, key=sizes.__getitem__)
        caveat = sample_size_note(sizes[k], arm.reference.cluster(k)) or f"{sizes[k]} samples"
        bias = (
            "the bias depends on the number of samples in a cluster; in the smallest cluster, "
            f"{k}: {caveat}"
        )
        return "; ".join(filter(None, (bias, super().note(arm))))
