"""The names of the rows that metrics will write, before anything is measured."""

import re

from routing.metrics.class_shares import ClassShares
from routing.metrics.cluster_shares import ClusterShares
from routing.metrics.feature_space_names import lpips_net, metric_name
from routing.metrics.lpips import LPIPS
from routing.metrics.registry import METRICS
from routing.workflow import choices

# Rows of one class or cluster.
PARTS = (re.compile(r"(.+_share_).+"), re.compile(r"(.+_cluster_)(\d+|worst)"))


def row_names(metric: dict, metrics: dict, where: str) -> list[str]:
    """Return the names of the rows that one entry of `metrics.list` writes.

    * stands for any class or cluster, which only the data know. Raises ValueError, one line that
    begins with `where`, on options that the metric does not have.
    """
    measure = choices.build(choices.with_plugins("metrics", METRICS), metric, where)
    if isinstance(measure, ClassShares | ClusterShares):
        return [f"{kind}_*" if kind.endswith("_share") else kind for kind in measure.kinds]
    if isinstance(measure, LPIPS):
        if metrics["lpips"] is None:
            return []
        start, within = f"lpips_{lpips_net(metrics['lpips'])}", metrics["lpips"]["within"]
        diversity = f"{start}_diversity" + ("" if within == "all" else f"_within_{within}")
        return [diversity, f"{start}_to_{metrics['reference_arm']}"]
    found, space = [], metric.get("feature_space") or metrics["feature_space"]
    for kind in measure.kinds:
        plain = kind.removesuffix("_cluster")
        name = metric_name(plain, space, metric.get("num_samples"), measure.name_suffixes(plain))
        found.append(name if plain == kind else f"{name}_cluster_*")
    return found


def row_pattern(row: str) -> str:
    """Return the name of a row as `row_names` writes it, with * for a class or cluster."""
    return next((f"{m[1]}*" for part in PARTS if (m := part.fullmatch(row))), row)
