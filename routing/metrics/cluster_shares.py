"""Cluster shares: how many samples fall in each cluster, beside the training images.

A sample, like a real image, belongs to the cluster of its nearest centroid in the partition
`metrics.shares_partition`.
"""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.category_shares import category_shares, min_share_ratio
from routing.metrics.protocol import ArmSamples, Kind, Metric, Replicates
from routing.metrics.share_metrics import SHARE_KINDS, share_metrics


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

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return `cluster_share_<k>` for every cluster, `cluster_tv`, `_kl` and `_coverage`."""
        q, names = arm.cluster_shares, [str(k) for k in range(len(arm.cluster_shares))]
        p = category_shares(arm.clusters, len(names), arm.weights)
        values = share_metrics("cluster", names, p, q)
        return values | {"cluster_coverage": min_share_ratio(p, q)}
