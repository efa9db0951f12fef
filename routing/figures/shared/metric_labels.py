"""Labels of metrics in figures and tables, their direction and range, and rounded values.

The name of a metric is `<prefix>_<feature space>[_<option>][_<number of samples>][_cluster_<k>]`,
where options are present if they differ from the published ones, or `<what>_share_<category>`. The
prefix is a kind in `routing.metrics.registry` (or in the table of an installed package), unless
PREFIXES lists others for that kind. The kind has the direction and the range of the metric. To
give a kind a label, add a row to METRIC_LABELS.
"""

import functools
import math
import re
from typing import Any

import pandas as pd

from routing.figures.shared.config_view import display_name
from routing.figures.shared.figure_text import figure_text
from routing.metrics.feature_space_names import WEIGHTS

METRIC_LABELS = {  # by prefix of the name
    "fid": "FID",
    "fid_infinity": "FID extrapolated to infinite samples",
    "fd": "Fréchet distance",
    "fd_infinity": "Fréchet distance extrapolated to infinite samples",
    "kid": "KID",
    "kd": "kernel distance",
    "energy": "energy distance",
    "cmmd": "CMMD",
    "cmmd_unbiased": "unbiased CMMD",
    "mmd": "Gaussian MMD",
    "mmd_unbiased": "unbiased Gaussian MMD",
    "is": "Inception score",
    "inception_score": "Inception score",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "vendi": "Vendi score",
    "copy_ratio": "distance to training images relative to held-out images",
    "authenticity": "authenticity",
    "agreement": "agreement with the requested class",
    "clip_score": "CLIP score",
    "clip_score_hessel": "CLIP score (2.5 max(cos, 0))",
    "clip_score_hundred": "CLIP score (100 cos)",
    "class_share": "share of class",
    "class_tv": "total variation of class shares",
    "class_kl": "KL divergence of class shares (nats)",
    "cluster_share": "share of cluster",
    "cluster_tv": "total variation of cluster shares",
    "cluster_kl": "KL divergence of cluster shares (nats)",
    "cluster_coverage": "smallest ratio of a cluster's share to its share in the data",
    "lpips_diversity": "LPIPS diversity",
    "lpips_to": "LPIPS distance",
}
PREFIXES = {  # of the names, by kind; other kinds are prefixes themselves
    "frechet": ("fid", "fd"),
    "frechet_infinity": ("fid_infinity", "fd_infinity"),
    "kernel": ("kid", "kd"),
    "cmmd": ("cmmd", "mmd"),
    "cmmd_unbiased": ("cmmd_unbiased", "mmd_unbiased"),
    "inception_score": ("is", "inception_score"),
}
SHARE = re.compile(r"(\w+?_share)_(.*)")
CLUSTER = re.compile(r"(.*)_cluster_(\d+|worst)")
LPIPS = re.compile(r"lpips_([a-z0-9]+(?:_other)?)_(?:(diversity)(?:_within_(\w+))?|(to)_(.*))")
FEATURE_SPACES = [
    *WEIGHTS,
    *(name.removeprefix("clip_") for name in WEIGHTS),
]  # some end in a number
SUFFIX = re.compile(r"(.*?)(?:_(k|splits)(\d+))?(?:_(\d+k?))?")
OPTIONS = {  # letter or word in a name: prefixes of the metrics that have the option
    "k": ("precision", "recall", "density", "coverage"),
    "splits": PREFIXES["inception_score"],
}


def metric_label(metric: str) -> str:
    """Return the label of `metric`, e.g. 'Fréchet distance, digits features'.

    Unknown metrics are labelled by their name, with spaces instead of underscores.
    """
    if metric in METRIC_LABELS:
        return METRIC_LABELS[metric]
    if found := SHARE.fullmatch(metric):
        return f"{METRIC_LABELS.get(found[1], display_name(found[1]))} {found[2]}"
    if found := LPIPS.fullmatch(metric):
        what = METRIC_LABELS[f"lpips_{found[2] or found[4]}"]
        what += f" to {display_name(found[5])}" if found[4] else ""
        what += f" within one {display_name(found[3])}" if found[3] else ""
        return f"{what} ({found[1]})"
    if found := CLUSTER.fullmatch(metric):
        which = "worst cluster" if found[2] == "worst" else f"cluster {found[2]}"
        return f"{metric_label(found[1])}, {which}"
    prefix = _prefix(metric)
    if prefix in (None, metric):
        return display_name(metric)
    return ", ".join([METRIC_LABELS.get(prefix, display_name(prefix)), *_rest(prefix, metric)])


def direction(metric: str) -> int:
    """Return 1 if higher is better, -1 if lower is better, 0 if neither or unknown."""
    kind = metric_kind(metric)
    return kind.direction if kind else 0


def value_range(metric: str) -> tuple[float, float]:
    """Return the smallest and the largest possible value; infinite if unknown."""
    kind = metric_kind(metric)
    return (float(kind.low), float(kind.high)) if kind else (-math.inf, math.inf)


def clip_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` (metric, value, lo, hi) with intervals clipped to the range of the metric."""
    ends = pd.DataFrame([value_range(m) for m in table["metric"]], table.index, ["low", "high"])
    lo = table["lo"].clip(lower=ends["low"].clip(upper=table["value"]))
    hi = table["hi"].clip(upper=ends["high"].clip(lower=table["value"]))
    return table.assign(lo=lo, hi=hi)


def metric_kind(metric: str) -> Any:
    """Return the `routing.metrics.registry.Kind` of the metric; None if it is unknown."""
    if found := LPIPS.fullmatch(metric):
        return metric_kinds().get(f"lpips_{found[2] or found[4]}")
    prefix = _prefix(metric)
    return metric_kinds()[prefix] if prefix else None


@functools.cache
def metric_kinds() -> dict[str, Any]:
    """Return {prefix: Kind} of all metrics, including those of installed packages."""
    from routing.metrics.registry import METRICS
    from routing.workflow import choices

    found: dict[str, Any] = {}
    for _, measure in choices.usable_rows(choices.with_plugins("metrics", METRICS)):
        for name, kind in measure.kinds.items():
            plain = name.removesuffix("_cluster")  # `recall_cluster` of recall_<space>_cluster_<k>
            for prefix in PREFIXES.get(plain, (plain,)):
                found.setdefault(prefix, kind)
    return found


def is_per_category(metric: str) -> bool:
    """Return whether the metric is the share of one category or a value of one cluster."""
    return "_share_" in metric or re.search(r"_cluster_\d+$", metric) is not None


def _prefix(metric: str) -> str | None:
    """Return the longest known prefix of the name, or None."""
    known = [prefix for prefix in metric_kinds() if f"{metric}_".startswith(f"{prefix}_")]
    return max(known, key=len, default=None)


def _rest(prefix: str, metric: str) -> list[str]:
    """Labels of what follows the prefix: feature space, option, number of samples."""
    rest = metric.removeprefix(f"{prefix}_")
    known = max((s for s in FEATURE_SPACES if f"{rest}_".startswith(f"{s}_")), key=len, default="")
    tail, option, value, num = SUFFIX.fullmatch(rest.removeprefix(known)).groups()
    if option and prefix not in OPTIONS[option]:
        tail, option = f"{tail}_{option}{value}", None
    labels = [f"{display_name(known + tail)} features"]
    if option:
        labels.append(f"k = {value}" if option == "k" else f"splits: {value}")
    return [*labels, f"{num} samples"] if num else labels


def direction_text(metric: str) -> str:
    """Return "higher is better", "lower is better" or an empty string."""
    return {1: "higher is better", -1: "lower is better", 0: ""}[direction(metric)]


def axis_label(metric: str, note: str = "") -> str:
    """Return `label_with_direction` as text of a figure."""
    return figure_text(label_with_direction(metric, note))


def label_with_direction(metric: str, note: str = "") -> str:
    """Return the label of `metric` with `note` and the direction."""
    parts = (metric_label(metric) + note, direction_text(metric))
    return "; ".join(part for part in parts if part)


def format_value(value: float, half_width: float | None = None) -> str:
    """Return `value`, or `value ± half_width`, as text.

    Both are rounded to the second significant digit of the half-width. Without a half-width, or
    with one of 0, the value has three significant digits.
    """
    if not math.isfinite(value):
        return f"{value}"
    if not half_width or not math.isfinite(half_width):
        text = _fixed(value, 3)
        return text if half_width is None else f"{text} ± {half_width:g}"
    decimals = max(0, 1 - math.floor(math.log10(abs(half_width))))
    return f"{value:z.{decimals}f} ± {half_width:.{decimals}f}"


def _fixed(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
