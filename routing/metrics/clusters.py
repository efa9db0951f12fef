"""Are all clusters served alike? Shares, distances and recall, cluster by cluster.

A sample is in the cluster of its nearest centroid of the partition `metrics.shares_partition`,
and so are the real images.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from routing.metrics.base import InSpace, Kind, Measure, Real, Replicates, View
from routing.metrics.compared import SHARES, compared
from routing.metrics.distances import UNBIASED
from routing.metrics.formulas.category_shares import shares, worst_served
from routing.metrics.formulas.frechet_distance import FrechetReference, frechet_distance, worth
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.formulas.precision_recall import hits
from routing.metrics.neighbours import OfNeighbours

LEAST = 2  # samples that a covariance wants, and a pair


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
        p = shares(view.clusters, len(names), view.weights)
        return compared("cluster", names, p, q) | {"cluster_coverage": worst_served(p, q)}


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
class KernelByCluster:
    """The training images as they were stored, and E k(y, y') within every cluster of them."""

    points: Float[Tensor, "points dim"]
    within: Float[Tensor, " clusters"]


@dataclass(frozen=True)
class ClusterDistance(InSpace):
    """A distance of the samples in a cluster to its training images.

    `..._cluster_<k>`, and `..._cluster_worst`, the largest. A cluster that gets fewer than two
    samples in some replicate has no row, which notes say, and then there is no worst.
    """

    def replicates(self, view: View) -> Replicates:
        """One number per cluster that has samples, and the worst."""
        (kind,) = self.kinds
        name, found = view.named(kind.removesuffix("_cluster")), {}
        for k in served(view):
            mine = view.clusters == k
            value = self.distance(view, k, view.features[mine], view.weights[:, mine])
            found[f"{name}_cluster_{k}"] = value
        if len(found) == len(view.cluster_shares):
            found[f"{name}_cluster_worst"] = torch.stack([*found.values()]).max(0).values
        return found

    def distance(
        self,
        view: View,
        k: int,
        samples: Float[Tensor, "samples dim"],
        weights: Float[Tensor, "replicates samples"],
    ) -> Float[Tensor, " replicates"]:
        """That of these samples, which are the ones in cluster `k`."""
        raise NotImplementedError

    def note(self, view: View) -> str:
        """Which clusters have no row."""
        without = sorted(set(range(len(view.cluster_shares))) - served(view).keys())
        if not without:
            return ""
        what = "cluster" if len(without) == 1 else "clusters"
        which = f"{what} {', '.join(map(str, without))}"
        return f"no row of {which}, with fewer than {LEAST} samples in some replicate"


@dataclass(frozen=True)
class ClusterFrechet(ClusterDistance):
    """Frechet distance of the samples in a cluster to its training images; lower is better.

    Its bias falls with the number of samples in a cluster, which differs from cluster to cluster
    and from arm to arm: the worst cluster may be no more than the smallest. `cluster_kernel` has
    no bias. Rows as ClusterDistance says.
    """

    kinds: ClassVar = {"frechet_cluster": Kind(-1)}
    reference: ClassVar = ByCluster

    def fit(self, real: Real) -> ByCluster:
        """Moments of each cluster. ValueError if one has fewer than two images."""
        num, dim = real.num_clusters, real.points.shape[1]
        width = min(dim, int(real.clusters.bincount().max()))
        mean = torch.zeros(num, dim, dtype=torch.float64)
        root = torch.zeros(num, dim, width, dtype=torch.float64)  # of many clusters, gigabytes
        for k, y in enumerate(images_by_cluster(real)):
            of = FrechetReference.fit(y)
            mean[k], root[k, :, : of.root.shape[1]] = of.mean, of.root
        return ByCluster(mean, root)

    def distance(self, view: View, k: int, samples: Tensor, weights: Tensor) -> Tensor:
        """To the Gaussian of cluster `k`."""
        return frechet_distance(samples, view.reference.cluster(k), weights)

    def note(self, view: View) -> str:
        """What it is worth in the smallest cluster."""
        sizes = served(view)
        if not sizes:
            return super().note(view)
        k = min(sizes, key=sizes.__getitem__)
        said = worth(sizes[k], view.reference.cluster(k)) or f"{sizes[k]} samples"
        few = f"the bias differs with the samples of a cluster; in the smallest, {k}: {said}"
        return "; ".join(filter(None, (few, super().note(view))))


@dataclass(frozen=True)
class ClusterKernel(ClusterDistance):
    """Kernel distance of the samples in a cluster to its training images; lower is better.

    Unbiased, around 0 where they are alike, and so compares clusters and arms with different
    numbers of samples; in a small cluster it scatters the more. Rows as ClusterDistance says.
    """

    kinds: ClassVar = {"kernel_cluster": UNBIASED}
    reference: ClassVar = KernelByCluster

    def fit(self, real: Real) -> KernelByCluster:
        """Means within each cluster. ValueError if one has fewer than two images."""
        clusters = images_by_cluster(real)
        within = [KernelReference.fit(y).within for y in clusters]
        return KernelByCluster(real.points, torch.stack(within))

    def distance(self, view: View, k: int, samples: Tensor, weights: Tensor) -> Tensor:
        """To the images of cluster `k`."""
        known = view.reference
        points = known.points[view.point_clusters == k]
        return kernel_distance(samples, KernelReference(points, known.within[k]), weights)


@dataclass(frozen=True)
class ClusterRecall(OfNeighbours):
    """Recall and coverage of the training images of each cluster; higher is better, in [0, 1].

    `recall_..._cluster_<k>` and `..._cluster_worst`, the smallest: fairness between experts. A
    cluster of which no image is among `num_references` has no row, and then there is no worst.
    """

    kinds: ClassVar = {
        "recall_cluster": Kind(1, 0, 1),
        "coverage_cluster": Kind(1, 0, 1),
    }

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


def served(view: View) -> dict[int, int]:
    """Number of samples by cluster, of those with two at least in every replicate."""
    sizes = {}
    for k in range(len(view.cluster_shares)):
        mine = view.clusters == k
        if (view.weights[:, mine] > 0).sum(1).min() >= LEAST:
            sizes[k] = int(mine.sum())
    return sizes


def images_by_cluster(real: Real) -> Iterator[Float[Tensor, "_ dim"]]:
    """The points of each cluster. ValueError if one has fewer than two."""
    sizes = real.clusters.bincount(minlength=real.num_clusters)
    for k, size in enumerate(sizes.tolist()):
        if size < LEAST:
            raise ValueError(
                f"wanted at least {LEAST} training images in every cluster of "
                f"metrics.shares_partition, got {size} in cluster {k}; take another partition, or "
                f"more of metrics.num_references"
            )
    for k in range(real.num_clusters):
        yield real.points[real.clusters == k]
