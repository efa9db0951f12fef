"""Recall and coverage cluster by cluster."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.precision_recall import ball_membership
from routing.metrics.neighbours import NeighbourMetric
from routing.metrics.protocol import ArmSamples, Kind, Replicates


@dataclass(frozen=True)
class ClusterRecall(NeighbourMetric):
    """Recall and coverage of the training images of each cluster; higher is better, in [0, 1].

    The rows are `<name>_cluster_<k>` and `<name>_cluster_worst`, the smallest of them: fairness
    between experts. A cluster without images among the `num_references` points is left out of the
    table, and so is `<name>_cluster_worst` then.
    """

    kinds: ClassVar = {
        "recall_cluster": Kind(1, 0, 1),
        "coverage_cluster": Kind(1, 0, 1),
    }

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return recall and coverage of every cluster, and the smallest of each."""
        num, values = len(arm.cluster_shares), {}
        present, groups = arm.point_clusters.unique(return_inverse=True)
        members = ball_membership(arm.features, arm.reference, arm.weights)
        for kind, by_group in members.by_group(groups, len(present)).items():
            name = arm.metric_name(kind)
            values |= {
                f"{name}_cluster_{k}": by_group[:, i] for i, k in enumerate(present.tolist())
            }
            if len(present) == num:
                values[f"{name}_cluster_worst"] = by_group.min(1).values
        return values
