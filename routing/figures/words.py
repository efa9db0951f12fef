"""Metrics in words: what a name of the long table says, which way is better, how to round.

A metric's name is `<kind>_<space>`, with options that are not the published ones, the number of
samples where it was asked for and the cluster where it is of one, or `<what>_share_<category>`;
the tables below read it.
"""

import math
import re

WORDS = {  # by kind: words, and 1 where higher is better, -1 where lower is, 0 where neither
    "fid": ("FID", -1),
    "fid_infinity": ("FID of infinitely many samples", -1),
    "fd": ("Fréchet distance", -1),
    "fd_infinity": ("Fréchet distance of infinitely many samples", -1),
    "kid": ("KID", -1),
    "kd": ("kernel distance", -1),
    "energy": ("energy distance", -1),
    "cmmd": ("CMMD", -1),
    "cmmd_unbiased": ("CMMD without bias", -1),
    "mmd": ("Gaussian MMD", -1),
    "mmd_unbiased": ("Gaussian MMD without bias", -1),
    "is": ("Inception score", 1),
    "inception_score": ("Inception score", 1),
    "precision": ("precision", 1),
    "recall": ("recall", 1),
    "density": ("density", 1),
    "coverage": ("coverage", 1),
    "vendi": ("Vendi score", 0),
    "copy_ratio": ("distance to the nearest training image, over that of held-out images", 0),
    "authenticity": ("authenticity", 0),
    "agreement": ("agreement with the class asked for", 1),
    "clip_score": ("CLIP score", 1),
    "clip_score_hessel": ("CLIPScore of Hessel et al.", 1),
    "clip_score_hundred": ("CLIP score (100 cos)", 1),
}
SHARES = {
    "class_tv": ("total variation of class shares", -1),
    "class_kl": ("KL divergence of class shares (nats)", -1),
    "cluster_tv": ("total variation of cluster shares", -1),
    "cluster_kl": ("KL divergence of cluster shares (nats)", -1),
    "cluster_coverage": ("share of the worst-served cluster, over its share in the data", 1),
}
CLUSTER = re.compile(r"(.*)_cluster_(\d+|worst)")
LPIPS = re.compile(r"lpips_(\w+?)_(diversity(?:_within_(\w+))?|to_(\w+))")
OPTION = re.compile(
    r"((?:precision|recall|density|coverage|is|inception_score)_.*)_(k|splits)(\d+)(_\d+k?)?"
)


def words(metric: str) -> str:
    """`metric` in words with its feature space, e.g. 'Fréchet distance, digits features'."""
    if metric in SHARES:
        return SHARES[metric][0]
    if found := CLUSTER.fullmatch(metric):
        which = "worst cluster" if found[2] == "worst" else f"cluster {found[2]}"
        return f"{words(found[1])}, {which}"
    if found := LPIPS.fullmatch(metric):
        what = f"distance to {spaced(found[4])}" if found[4] else "diversity"
        what += f" within what was {found[3]}" if found[3] else ""
        return f"LPIPS {what} ({found[1]})"
    if found := OPTION.fullmatch(metric):
        option = f"k = {found[3]}" if found[2] == "k" else f"splits: {found[3]}"
        return f"{words(found[1] + (found[4] or ''))}, {option}"
    if kind := kind_of(metric):
        space = spaced(metric.removeprefix(f"{kind}_"))
        return f"{WORDS[kind][0]}, {space} features"
    return spaced(metric)


def direction(metric: str) -> int:
    """1 where higher is better, -1 where lower is, 0 where neither is (a share, a diagnostic)."""
    if metric in SHARES:
        return SHARES[metric][1]
    if LPIPS.fullmatch(metric) or "_share_" in metric:
        return 0
    kind = kind_of(metric)
    return WORDS[kind][1] if kind else -1


def is_part(metric: str) -> bool:
    """Whether it is of one category or one cluster: one number of many."""
    return "_share_" in metric or re.search(r"_cluster_\d+$", metric) is not None


def kind_of(metric: str) -> str | None:
    """The longest kind that the name begins with."""
    fit = [kind for kind in WORDS if metric.startswith(f"{kind}_")]
    return max(fit, key=len, default=None)


def spaced(name: str) -> str:
    """Words instead of underscores."""
    return name.replace("_", " ")


def better(metric: str) -> str:
    """The direction in words; empty where there is none."""
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
