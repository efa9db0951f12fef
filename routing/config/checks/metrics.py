"""What metrics want: of their spaces and networks, of the arms, of the number of samples."""

from routing.config.checks.metric_names import pattern, rows
from routing.config.checks.names import named
from routing.data.sources import SOURCES, Digits, MixtureSource
from routing.ensemble.guidance import GUIDANCE
from routing.metrics.classes import Agreement, ClassShares, InceptionScore
from routing.metrics.neighbours import OfNeighbours
from routing.metrics.pairs import LPIPS
from routing.metrics.table import METRICS
from routing.metrics.texts import CLIPScore
from routing.pretrained.lpips_networks import NETS
from routing.statistics.intervals import seed_blocks
from routing.workflow import choices

DIGITS_SIDE = 8  # pixels; other sources have the side of data.image


def check(spec: dict) -> None:
    """Raise ValueError (one line, key first) if `metrics` of the config cannot be measured."""
    metrics = spec["metrics"]
    if shared := sorted(spec["classifiers"].keys() & spec["encoders"].keys()):
        raise ValueError(f"classifiers.{shared[0]}: an encoder has this name too; rename one")
    spaces = [*spec["classifiers"], *spec["encoders"]]
    named("metrics.feature_space", metrics["feature_space"], spaces)
    named("metrics.reference_arm", metrics["reference_arm"], spec["arms"])
    named("metrics.shares_partition", metrics["shares_partition"], spec["partitions"])
    seen: dict[str, int] = {}
    for i, metric in enumerate(metrics["list"]):
        where, space = f"metrics.list.{i}", metric.get("feature_space") or metrics["feature_space"]
        for row in rows(metric, metrics, where):
            if row in seen:
                raise ValueError(
                    f"{where}: {metric['name']!r} would write {row}, as metrics.list.{seen[row]} "
                    f"does; take one out or choose other options"
                )
            seen[row] = i
        if metric.get("feature_space") is not None:
            named(f"{where}.space", metric["feature_space"], spaces)
        _metric(where, metric, space, spec)
    if metrics["num_bootstrap"] == 1:
        raise ValueError(
            "metrics.num_bootstrap: wanted 0 or at least 2, got 1, which has no spread; "
            "200 serve most purposes"
        )


def check_figures(spec: dict) -> None:
    """Raise ValueError (one line, key first) if a figure shows a metric that nobody measures."""
    metrics = spec["metrics"]
    found = [r for m in metrics["list"] for r in rows(m, metrics, "metrics.list")]
    for name, figure in spec["figures"].items():
        for key in ("metric", "metrics"):
            shown = figure.get(key, ())
            for metric in [shown] if key == "metric" and shown else shown:
                if pattern(metric) not in found:
                    named(f"figures.{name}.{key}", metric, found)


def _metric(where: str, metric: dict, space: str, spec: dict) -> None:
    """What one metric wants of its space, of the arms and of the number of samples."""
    name, kind = metric["name"], choices.with_plugins("metrics", METRICS)[metric["name"]]
    encoder = spec["encoders"].get(space, {}).get("name")
    if kind in (ClassShares, Agreement) and encoder:
        raise ValueError(
            f"{where}: {name!r} wants a classifier that tells classes, got the encoder {space!r} "
            f"(space or metrics.feature_space); name one of classifiers or take {name!r} out"
        )
    if kind is InceptionScore and encoder != "inception":
        raise ValueError(
            f"{where}: {name!r} wants a space of the encoder 'inception', got {space!r}; give it "
            f"one by `space` or take {name!r} out"
        )
    if kind is CLIPScore and encoder != "clip":
        raise ValueError(
            f"{where}: {name!r} wants a space of an encoder 'clip', got {space!r}; give it one by "
            f"`space` or take {name!r} out"
        )
    if kind is CLIPScore and spec["encoders"][space]["dim"] is not None:
        raise ValueError(
            f"{where}: {name!r} wants whole features, got encoders.{space}.dim = "
            f"{spec['encoders'][space]['dim']}; name another encoder"
        )
    if kind is LPIPS:
        _lpips(where, spec)
    _counts(where, metric, kind, spec)


def _counts(where: str, metric: dict, kind: type, spec: dict) -> None:
    """Samples, blocks and reference images must be enough for what a metric counts."""
    metrics, drawn = spec["metrics"], spec["samples"]["num_samples"]
    num = metric.get("num_samples") or drawn
    if num > drawn:
        raise ValueError(
            f"{where}.num_samples: wanted at most {drawn} (samples.num_samples), got {num}; draw "
            f"more, or take the number and with it the promise out of the name"
        )
    try:
        seed_blocks(num, metrics["num_blocks"])
    except ValueError as error:
        own = f"{where}: " if metric.get("num_samples") else ""
        raise ValueError(f"{own}metrics.{error}") from None
    if issubclass(kind, OfNeighbours):
        kept = num - num // metrics["num_blocks"]
        if (k := metric["k_precision"]) >= kept:
            raise ValueError(
                f"{where}.k_precision: wanted fewer than the {kept} samples that are left without "
                f"a block, got {k}; lower it or draw more"
            )
        references = metrics["num_references"]
        for option in ("k_precision", "k_density"):
            if references is not None and metric[option] >= references:
                raise ValueError(
                    f"{where}.{option}: wanted fewer than the {references} of "
                    f"metrics.num_references, got {metric[option]}; lower it or take more"
                )
    if kind is InceptionScore and metric["num_splits"] > num:
        raise ValueError(
            f"{where}.num_splits: wanted at most {num} (samples), got {metric['num_splits']}; "
            f"10 is usual"
        )


def _lpips(where: str, spec: dict) -> None:
    """The network takes images of some least side; pairs within what was asked want a question."""
    lpips, source = spec["metrics"]["lpips"], spec["data"]["source"]["name"]
    if lpips is None:
        raise ValueError(f"metrics.lpips: 'lpips' ({where}) wants its network; add {{net: alex}}")
    kind, image = choices.with_plugins("sources", SOURCES)[source], spec["data"]["image"]
    if kind is MixtureSource:
        raise ValueError(
            f"{where}: 'lpips' wants images, got points (data.source {source!r}); take it out"
        )
    side = image["size"] if image else DIGITS_SIDE if kind is Digits else None
    if side is not None and side < NETS[lpips["net"]].least:
        able = [f"{name!r} ({net.least})" for name, net in NETS.items() if net.least <= side]
        remedy = f"take net {' or '.join(able)}" if able else "take 'lpips' out of metrics.list"
        raise ValueError(
            f"metrics.lpips.net: {lpips['net']!r} wants images of {NETS[lpips['net']].least} "
            f"pixels a side or more, got {side} of data; {remedy}"
        )
    if lpips["within"] == "all":
        return
    table = choices.with_plugins("guidances", GUIDANCE)
    for name, arm in spec["arms"].items():
        guidance = spec["guidances"].get(arm["guidance"], {"name": "none"})["name"]
        if not table[guidance].is_conditional:
            raise ValueError(
                f"metrics.lpips.within: {lpips['within']!r} wants arms that ask for a label or a "
                f"text, got arm {name!r} without guidance; take 'all', or give it one"
            )


def measured(spec: dict) -> list[str]:
    """The spaces that are measured in, the one of metrics.shares_partition first."""
    metrics = spec["metrics"]
    place = spec["partitions"][metrics["shares_partition"]]["encoder"]
    own = [
        metric["feature_space"] or metrics["feature_space"]
        for metric in metrics["list"]
        if "feature_space" in metric
    ]
    return list(dict.fromkeys([place, *own]))


def phrased(spec: dict) -> list[str]:
    """The spaces in which captions are compared with samples."""
    metrics, table = spec["metrics"], choices.with_plugins("metrics", METRICS)
    of = [m for m in metrics["list"] if table[m["name"]] is CLIPScore]
    return list(dict.fromkeys(m["feature_space"] or metrics["feature_space"] for m in of))
