"""How the rows of the tables of metrics will be called, before anything is measured."""

import re

from routing.metrics.classes import ClassShares
from routing.metrics.clusters import ClusterShares
from routing.metrics.feature_space_names import lpips_net, metric_name
from routing.metrics.pairs import LPIPS
from routing.metrics.table import METRICS
from routing.workflow import choices

PARTS = (re.compile(r"(.+_share_).+"), re.compile(r"(.+_cluster_)(\d+|worst)"))


def rows(metric: dict, metrics: dict, where: str) -> list[str]:
    """Names of what one entry of `metrics.list` writes, with * for any category or cluster.

    ValueError (one line, `where` first) on options that no such metric has.
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
        name = metric_name(plain, space, metric.get("num_samples"), measure.departures(plain))
        found.append(name if plain == kind else f"{name}_cluster_*")
    return found


def pattern(row: str) -> str:
    """What `rows` calls a row of the tables: categories and clusters are known by the data."""
    return next((f"{m[1]}*" for part in PARTS if (m := part.fullmatch(row))), row)
