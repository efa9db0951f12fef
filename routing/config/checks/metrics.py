"""Checks of metrics: their feature spaces, their names and the number of samples."""

from routing.config.checks import lpips
from routing.config.checks.metric_names import row_names
from routing.config.checks.references import require_known
from routing.metrics.agreement import Agreement
from routing.metrics.class_shares import ClassShares
from routing.metrics.clip_score import CLIPScore
from routing.metrics.inception_score import InceptionScore
from routing.metrics.lpips import LPIPS
from routing.metrics.neighbours import NeighbourMetric
from routing.metrics.registry import METRICS
from routing.statistics.jackknife import seed_blocks
from routing.workflow import choices


def check(spec: dict) -> None:
    """Check every entry of `metrics.list`, and the names that `metrics` refers to."""
    metrics = spec["metrics"]
    if shared := sorted(spec["classifiers"].keys() & spec["encoders"].keys()):
        raise ValueError(f"classifiers.{shared[0]}: an encoder has this name too; rename one")
    spaces = [*spec["classifiers"], *spec["encoders"]]
    require_known("metrics.feature_space", metrics["feature_space"], spaces)
    require_known("metrics.reference_arm", metrics["reference_arm"], spec["arms"])
    require_known("metrics.shares_partition", metrics["shares_partition"], spec["partitions"])
    writers: dict[str, int] = {}
    for i, metric in enumerate(metrics["list"]):
        where, space = f"metrics.list.{i}", metric.get("feature_space") or metrics["feature_space"]
        for row in row_names(metric, metrics, where):
            if row in writers:
                raise ValueError(
                    f"{where}: {metric['name']!r} would write {row}, as metrics.list."
                    f"{writers[row]} does; remove one or change its options"
                )
            writers[row] = i
        if metric.get("feature_space") is not None:
            require_known(f"{where}.feature_space", metric["feature_space"], spaces)
        _check_metric(where, metric, space, spec)
    if metrics["num_bootstrap"] == 1:
        raise ValueError(
            "metrics.num_bootstrap: wanted 0 or at least 2, got 1, which has no spread; 200 is "
            "usual"
        )


def _check_metric(where: str, metric: dict, space: str, spec: dict) -> None:
    """Check what one metric needs of its feature space, of the arms and of the samples."""
    name, kind = metric["name"], choices.with_plugins("metrics", METRICS)[metric["name"]]
    encoder = spec["encoders"].get(space, {}).get("name")
    if kind in (ClassShares, Agreement) and encoder:
        raise ValueError(
            f"{where}: {name!r} needs a classifier, got the encoder {space!r} (feature_space or "
            f"metrics.feature_space); name a classifier or remove {name!r}"
        )
    if kind is InceptionScore and encoder != "inception":
        raise ValueError(
            f"{where}: {name!r} needs an encoder 'inception', got {space!r}; name one as "
            f"`feature_space` or remove {name!r}"
        )
    if kind is CLIPScore and encoder != "clip":
        raise ValueError(
            f"{where}: {name!r} needs an encoder 'clip', got {space!r}; name one as "
            f"`feature_space` or remove {name!r}"
        )
    if kind is CLIPScore and spec["encoders"][space]["dim"] is not None:
        raise ValueError(
            f"{where}: {name!r} needs features that are not projected, got encoders.{space}.dim = "
            f"{spec['encoders'][space]['dim']}; name another encoder"
        )
    if kind is LPIPS:
        lpips.check(where, spec)
    _check_counts(where, metric, kind, spec)


def _check_counts(where: str, metric: dict, kind: type, spec: dict) -> None:
    """Check that a metric has enough samples, blocks and reference images."""
    metrics, drawn = spec["metrics"], spec["samples"]["num_samples"]
    num = metric.get("num_samples") or drawn
    if num > drawn:
        raise ValueError(
            f"{where}.num_samples: wanted at most {drawn} (samples.num_samples), got {num}; draw "
            f"more samples or lower it"
        )
    try:
        seed_blocks(num, metrics["num_blocks"])
    except ValueError as error:
        own = f"{where}: " if metric.get("num_samples") else ""
        raise ValueError(f"{own}metrics.{error}") from None
    if issubclass(kind, NeighbourMetric):
        _check_neighbours(where, metric, metrics, num)
    if kind is InceptionScore and metric["num_splits"] > num:
        raise ValueError(
            f"{where}.num_splits: wanted at most {num} (samples), got {metric['num_splits']}; "
            f"10 is usual"
        )


def _check_neighbours(where: str, metric: dict, metrics: dict, num: int) -> None:
    kept = num - num // metrics["num_blocks"]
    if (k := metric["k_precision"]) >= kept:
        raise ValueError(
            f"{where}.k_precision: wanted less than {kept}, the samples that are left when the "
            f"jackknife removes a block, got {k}; lower it or draw more samples"
        )
    references = metrics["num_references"]
    for option in ("k_precision", "k_density"):
        if references is not None and metric[option] >= references:
            raise ValueError(
                f"{where}.{option}: wanted less than {references} (metrics.num_references), got "
                f"{metric[option]}; lower it or raise metrics.num_references"
            )
