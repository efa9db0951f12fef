"""Cluster shares: how many samples fall in each cluster, beside the training images.

A sample, like a real image, belongs to the cluster of its nearest centroid in the partition
`metrics.shares_partition`.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from routing.metrics.formulas.category_shares import category_shares, min_share_ratio
from routing.metrics.protocol import ArmSamples, Kind, Metric, Replicates
from routing.metrics.share_metrics import SHARE_KINDS, share_metrics, share_scores


@dataclass(frozen=True)
class ClusterShares(Metric):
    """Shares of the clusters; total variation and KL from the training images' shares.

    Shares have no better direction. Both distances are better lower, from 0. KL is infinite where
    a sample falls in a cluster without training images; it is then left out of the table.
    `cluster_coverage` is the smallest ratio of a cluster's share to its share of the training
    images: higher is better, in [0, 1].
    """

    kinds: ClassVar = {f"cluster_{kind}": of for kind, of in SHARE_KINDS.items()} | {
        "cluster_coverage": Kind(1, 0, 1)
    }
    supports_bootstrap: ClassVar[bool] = True
    sparse_scores: ClassVar[bool] = True

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return `cluster_share_<k>` for every cluster, `cluster_tv`, `_kl` and `_coverage`."""
        q, names = arm.cluster_shares, _names(arm)
        p = category_shares(arm.clusters, len(names), arm.weights)
        values = share_metrics("cluster", names, p, q)
        return values | {"cluster_coverage": min_share_ratio(p, q)}

    def scores(self, arm: ArmSamples) -> dict[str, Tensor]:
        """Return 1 for the samples of each cluster; for the coverage, 1 / q of the worst cluster.

        The worst cluster has the smallest ratio of shares; q is its share of the training images.
        """
        scores = share_scores("cluster", _names(arm), arm.clusters)
        worst, scale = _worst_cluster(arm)
        return scores | {"cluster_coverage": scale * (arm.clusters == worst).double()}

    def count_scales(self, arm: ArmSamples) -> dict[str, float]:
        """Return 1 for each share, and 1 / q of the worst cluster for the coverage."""
        scales = {f"cluster_share_{name}": 1.0 for name in _names(arm)}
        return scales | {"cluster_coverage": _worst_cluster(arm)[1]}


def _names(arm: ArmSamples) -> list[str]:
    return [str(k) for k in range(len(arm.cluster_shares))]


def _worst_cluster(arm: ArmSamples) -> tuple[int, float]:
    """Return the cluster with the smallest ratio of shares among all samples, and 1 / q."""
    q = arm.cluster_shares.double()
    count = arm.clusters.bincount(minlength=len(q)).double()
    worst = int((count / q).where(q > 0, torch.inf).argmin())
    return worst, 1 / q[worst].item()
