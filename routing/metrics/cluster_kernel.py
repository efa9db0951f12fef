"""Kernel distance cluster by cluster."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from routing.metrics.cluster_distances import ClusterDistance, points_by_cluster
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.protocol import UNBIASED_DISTANCE, ArmSamples, ReferenceSamples


@dataclass(frozen=True)
class ClusterKernelReference:
    """The training images in their stored precision, and E k(y, y') within each cluster."""

    points: Float[Tensor, "points dim"]
    within: Float[Tensor, " clusters"]


@dataclass(frozen=True)
class ClusterKernel(ClusterDistance):
    """Kernel distance between the samples of a cluster and its training images; lower is better.

    Unbiased, around 0 where the distributions are equal. So clusters and arms with different
    numbers of samples can be compared; the variance is larger in a small cluster.
    """

    kinds: ClassVar = {"kernel_cluster": UNBIASED_DISTANCE}
    reference_type: ClassVar = ClusterKernelReference

    def fit(self, real: ReferenceSamples) -> ClusterKernelReference:
        """Return the means within each cluster. Raise ValueError if one has under two images."""
        within = [KernelReference.fit(y).within for y in points_by_cluster(real)]
        return ClusterKernelReference(real.points, torch.stack(within))

    def distance(self, arm: ArmSamples, k: int, samples: Tensor, weights: Tensor) -> Tensor:
        """Return the distance of `samples` to the training images of cluster `k`."""
        points = arm.reference.points[arm.point_clusters == k]
        reference = KernelReference(points, arm.reference.within[k])
        return kernel_distance(samples, reference, weights)
