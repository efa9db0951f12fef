"""Metrics in words: what a name of the long table says, which way is better, how to round.

A metric's name is `<kind>_<space>` or `<what>_share_<category>`; the tables below read it.
"""

import math

WORDS = {
    "fd": "Fréchet distance",
    "kd": "kernel distance",
    "energy": "energy distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "agreement": "agreement with the class asked for",
}
SHARES = {
    "class_tv": "total variation of class shares",
    "class_kl": "KL divergence of class shares (nats)",
    "cluster_tv": "total variation of cluster shares",
    "cluster_kl": "KL divergence of cluster shares (nats)",
}
RISING = ("precision", "recall", "density", "coverage", "agreement")  # higher is better


def words(metric: str) -> str:
    """`metric` in words with its feature space, e.g. 'Fréchet distance, digits features'."""
    if metric in SHARES:
        return SHARES[metric]
    kind, _, space = metric.partition("_")
    if kind in WORDS:
        return f"{WORDS[kind]}, {space.replace('_', ' ')} features"
    return metric.replace("_", " ")


def direction(metric: str) -> int:
    """1 where higher is better, -1 where lower is, 0 for a share: near the data's is better."""
    if "_share_" in metric:
        return 0
    return 1 if metric.partition("_")[0] in RISING else -1


def better(metric: str) -> str:
    """The direction in words; empty for a share."""
    return {1: "higher is better", -1: "lower is better", 0: ""}[direction(metric)]


def axis_label(metric: str, note: str = "") -> str:
    """Words, a note, and the direction."""
    return "; ".join(part for part in (words(metric) + note, better(metric)) if part)


def rounded(value: float, half_width: float | None = None) -> str:
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
