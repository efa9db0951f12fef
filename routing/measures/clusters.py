"""Are all clusters served alike? Shares, Frechet distance and recall, cluster by cluster.

A sample is in the cluster of its nearest centroid of the partition `metrics.shares_partition`,
and so are the real images.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from routing.frechet import FrechetReference, frechet_distance
from routing.measures.base import InSpace, Kind, Measure, Real, Replicates, View
from routing.measures.compared import SHARES, compared
from routing.neighbours import NeighbourReference, hits
from routing.shares import shares, worst_served

LEAST = 2  # samples that a covariance wants


@dataclass(frozen=True)
class ClusterShares(Measure):
    """Shares of the clusters by nearest centroid; total variation and KL from the data's.

    Shares have no direction, both distances are better lower, from 0; KL is infinite, and then has
    no row, where a sample falls in a cluster without training images. `cluster_coverage` is what
    the worst-served cluster gets of its share in the data: higher is better, in [0, 1].
    """

    kinds: ClassVar = {f"cluster_{kind}": of for kind, of in SHARES.items()} | {
        "cluster_coverage": Kind(1, 0, 1)
    }
    resamples: ClassVar[bool] = True

    def replicates(self, view: View) -> Replicates:
        """`cluster_share_<k>` for every cluster, `cluster_tv`, `_kl` (nats), `_coverage`."""
        q, names = view.cluster_shares, [str(k) for k in range(len(view.cluster_shares))]
        found = compared("cluster", names, view.clusters, q, view.weights)
        p = shares(view.clusters, len(names), view.weights)
        return found | {"cluster_coverage": worst_served(p, q)}


@dataclass(frozen=True)
class ByCluster:
    """A Gaussian for every cluster. Float64; roots are filled up with zeros to one width."""

    mean: Float[Tensor, "clusters dim"]
    root: Float[Tensor, "clusters dim rank"]

    def cluster(self, k: int) -> FrechetReference:
        """That of cluster `k`."""
        root = self.root[k]
        return FrechetReference(self.mean[k], root[:, root.abs().sum(0) > 0])


@dataclass(frozen=True)
class ClusterFrechet(InSpace):
    """Frechet distance of the samples in a cluster to its training images; lower is better.

    `..._cluster_<k>`, and `..._cluster_worst`, the largest. A cluster that gets fewer than two
    samples in some replicate has no row (and then there is no worst); its share says so.
    """

    kinds: ClassVar = {"frechet_cluster": Kind(-1)}
    reference: ClassVar = ByCluster

    def fit(self, real: Real) -> ByCluster:
        """Moments of each cluster. ValueError if one has fewer than two images."""
        fitted = []
        sizes = real.clusters.bincount(minlength=real.num_clusters)
        for k, size in enumerate(sizes.tolist()):
            if size < LEAST:
                raise ValueError(
                    f"cluster_frechet: wanted at least {LEAST} training images in every cluster "
                    f"of metrics.shares_partition, got {size} in cluster {k}; take another "
                    f"partition"
                )
            fitted.append(FrechetReference.fit(real.points[real.clusters == k]))
        width = max(f.root.shape[1] for f in fitted)
        roots = [torch.nn.functional.pad(f.root, (0, width - f.root.shape[1])) for f in fitted]
        return ByCluster(torch.stack([f.mean for f in fitted]), torch.stack(roots))

    def replicates(self, view: View) -> Replicates:
        """One number per cluster that has samples, and the worst."""
        name, found = view.named("frechet"), {}
        num = len(view.reference.mean)
        for k in range(num):
            mine = view.clusters == k
            weights = view.weights[:, mine]
            if (weights > 0).sum(1).min() >= LEAST:
                reference = view.reference.cluster(k)
                value = frechet_distance(view.features[mine], reference, weights)
                found[f"{name}_cluster_{k}"] = value
        if len(found) == num:
            found[f"{name}_cluster_worst"] = torch.stack([*found.values()]).max(0).values
        return found


@dataclass(frozen=True)
class ClusterRecall(InSpace):
    """Recall and coverage of the training images of each cluster; higher is better, in [0, 1].

    `recall_..._cluster_<k>` and `..._cluster_worst`, the smallest: fairness between experts. A
    cluster of which no image is among `num_references` has no row, and then there is no worst.
    """

    k_precision: int = 3
    k_density: int = 5

    kinds: ClassVar = {
        "recall_cluster": Kind(1, 0, 1),
        "coverage_cluster": Kind(1, 0, 1),
    }
    reference: ClassVar = NeighbourReference
    fitted_by: ClassVar = ("k_precision", "k_density")

    def fit(self, real: Real) -> NeighbourReference:
        """Radii of the training images."""
        return NeighbourReference.fit(real.points, self.k_precision, self.k_density)

    def replicates(self, view: View) -> Replicates:
        """Two numbers per cluster, and the worst of each."""
        num, found = len(view.cluster_shares), {}
        shown, groups = view.point_clusters.unique(return_inverse=True)
        near = hits(view.features, view.reference, view.weights)
        for kind, values in near.by_group(groups, len(shown)).items():
            name = view.named(kind)
            found |= {f"{name}_cluster_{k}": values[:, i] for i, k in enumerate(shown.tolist())}
            if len(shown) == num:
                found[f"{name}_cluster_worst"] = values.min(1).values
        return found
