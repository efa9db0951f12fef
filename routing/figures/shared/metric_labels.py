"""Metrics in words: what a name of the long table says, which way is better, how to round.

A metric's name is `<begin>_<space>`, with options that are not the published ones, the number of
samples where it was asked for and the cluster where it is of one; or `<what>_share_<category>`.
Where nothing else is said it begins with its kind in `routing.metrics.table` (or another package's
measures), which knows the direction and the range. To give a kind words, add a row to WORDS.
"""

import functools
import math
import re
from typing import Any

import pandas as pd

from routing.figures.shared.config_view import display_name
from routing.metrics.feature_space_names import WEIGHTS

METRIC_LABELS = {  # by what a name begins with
    "fid": "FID",
    "fid_infinity": "FID of infinitely many samples",
    "fd": "Fréchet distance",
    "fd_infinity": "Fréchet distance of infinitely many samples",
    "kid": "KID",
    "kd": "kernel distance",
    "energy": "energy distance",
    "cmmd": "CMMD",
    "cmmd_unbiased": "CMMD without bias",
    "mmd": "Gaussian MMD",
    "mmd_unbiased": "Gaussian MMD without bias",
    "is": "Inception score",
    "inception_score": "Inception score",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "vendi": "Vendi score",
    "copy_ratio": "distance to training images (held-out images: 1)",
    "authenticity": "authenticity",
    "agreement": "agreement with the class asked for",
    "clip_score": "CLIP score",
    "clip_score_hessel": "CLIP score (2.5 max(cos, 0))",
    "clip_score_hundred": "CLIP score (100 cos)",
    "class_share": "share of class",
    "class_tv": "total variation of class shares",
    "class_kl": "KL divergence of class shares (nats)",
    "cluster_share": "share of cluster",
    "cluster_tv": "total variation of cluster shares",
    "cluster_kl": "KL divergence of cluster shares (nats)",
    "cluster_coverage": "share of the worst-served cluster, over its share in the data",
    "lpips_diversity": "LPIPS diversity",
    "lpips_to": "LPIPS distance",
}
BEGINS = {  # by kind of the measures: what names begin with instead
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
SPACES = [*WEIGHTS, *(name.removeprefix("clip_") for name in WEIGHTS)]  # some end in a number
ENDS = re.compile(r"(.*?)(?:_(k|splits)(\d+))?(?:_(\d+k?))?")
OPTIONS = {
    "k": ("precision", "recall", "density", "coverage"),
    "splits": BEGINS["inception_score"],
}


def metric_label(metric: str) -> str:
    """`metric` in words with its feature space, e.g. 'Fréchet distance, digits features'.

    What is not known stands there as it is, with spaces.
    """
    if metric in METRIC_LABELS:
        return METRIC_LABELS[metric]
    if found := SHARE.fullmatch(metric):
        return f"{METRIC_LABELS.get(found[1], display_name(found[1]))} {found[2]}"
    if found := LPIPS.fullmatch(metric):
        what = METRIC_LABELS[f"lpips_{found[2] or found[4]}"]
        what += f" to {display_name(found[5])}" if found[4] else ""
        what += f" within what was {display_name(found[3])}" if found[3] else ""
        return f"{what} ({found[1]})"
    if found := CLUSTER.fullmatch(metric):
        which = "worst cluster" if found[2] == "worst" else f"cluster {found[2]}"
        return f"{metric_label(found[1])}, {which}"
    begin = _begin(metric)
    if begin in (None, metric):
        return display_name(metric)
    return ", ".join([METRIC_LABELS.get(begin, display_name(begin)), *_rest(begin, metric)])


def direction(metric: str) -> int:
    """1 where higher is better, -1 where lower is, 0 where neither is or nobody knows."""
    kind = metric_kind(metric)
    return kind.direction if kind else 0


def value_range(metric: str) -> tuple[float, float]:
    """The least and the largest value that there can be, as far as it is known."""
    kind = metric_kind(metric)
    return (float(kind.low), float(kind.high)) if kind else (-math.inf, math.inf)


def clip_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """The rows (metric, value, lo, hi) with intervals cut to the metric's range, to be drawn."""
    ends = pd.DataFrame([value_range(m) for m in table["metric"]], table.index, ["low", "high"])
    lo = table["lo"].clip(lower=ends["low"].clip(upper=table["value"]))
    hi = table["hi"].clip(upper=ends["high"].clip(lower=table["value"]))
    return table.assign(lo=lo, hi=hi)


def metric_kind(metric: str) -> Any:
    """The metric's `routing.metrics.table.Kind`; None if no measure writes such a name."""
    if found := LPIPS.fullmatch(metric):
        return metric_kinds().get(f"lpips_{found[2] or found[4]}")
    begin = _begin(metric)
    return metric_kinds()[begin] if begin else None


@functools.cache
def metric_kinds() -> dict[str, Any]:
    """The kinds of all measures, those of other packages too, by what names begin with."""
    from routing.metrics.table import METRICS
    from routing.workflow import choices

    found: dict[str, Any] = {}
    for measure in choices.with_plugins("metrics", METRICS).values():
        for name, kind in measure.kinds.items():
            plain = name.removesuffix("_cluster")  # `recall_cluster` of recall_<space>_cluster_<k>
            for begin in BEGINS.get(plain, (plain,)):
                found.setdefault(begin, kind)
    return found


def is_per_category(metric: str) -> bool:
    """Whether it is of one category or one cluster: one number of many."""
    return "_share_" in metric or re.search(r"_cluster_\d+$", metric) is not None


def _begin(metric: str) -> str | None:
    """The longest word of `kinds` that the name begins with."""
    return max(
        (b for b in metric_kinds() if f"{metric}_".startswith(f"{b}_")), key=len, default=None
    )


def _rest(begin: str, metric: str) -> list[str]:
    """What stands behind `begin`, in words: the space, an option, the number of samples."""
    rest = metric.removeprefix(f"{begin}_")
    known = max((s for s in SPACES if f"{rest}_".startswith(f"{s}_")), key=len, default="")
    tail, option, value, num = ENDS.fullmatch(rest.removeprefix(known)).groups()
    if option and begin not in OPTIONS[option]:
        tail, option = f"{tail}_{option}{value}", None
    told = [f"{display_name(known + tail)} features"]
    if option:
        told.append(f"k = {value}" if option == "k" else f"splits: {value}")
    return [*told, f"{num} samples"] if num else told


def direction_text(metric: str) -> str:
    """The direction in words; empty where there is none."""
    return {1: "higher is better", -1: "lower is better", 0: ""}[direction(metric)]


def axis_label(metric: str, note: str = "") -> str:
    """Words, a note, and the direction."""
    return "; ".join(
        part for part in (metric_label(metric) + note, direction_text(metric)) if part
    )


def format_value(value: float, half_width: float | None = None) -> str:
    """`value` to the second digit of its half-width (three digits without), which follows it.

    A half-width of 0 is exact and rounds nothing away that three digits show.
    """
    if not math.isfinite(value):
        return f"{value}"
    if not half_width or not math.isfinite(half_width):
        text = _fixed(value, 3)
        return text if half_width is None else f"{text} ± {half_width:g}"
    places = max(0, 1 - math.floor(math.log10(abs(half_width))))
    return f"{value:z.{places}f} ± {half_width:.{places}f}"


def _fixed(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
