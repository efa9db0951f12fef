"""Checks of the metric `lpips`: the network, the size of the images and the pairs of samples."""

from routing.config.checks.conditions import guidance_kind
from routing.data.sources import SOURCES, Digits, MixtureSource
from routing.ensemble.guidance import GUIDANCE
from routing.pretrained.lpips_networks import NETS
from routing.workflow import choices

DIGITS_SIDE = 8  # pixels; the images of other sources have the side data.image.size


def check(where: str, spec: dict) -> None:
    """Check the network that the metric `lpips` at `where` uses, and the pairs it compares."""
    lpips, source = spec["metrics"]["lpips"], spec["data"]["source"]["name"]
    if lpips is None:
        raise ValueError(f"metrics.lpips: 'lpips' ({where}) needs a network; add {{net: alex}}")
    kind, image = choices.with_plugins("sources", SOURCES)[source], spec["data"]["image"]
    if kind is MixtureSource:
        raise ValueError(
            f"{where}: 'lpips' needs images, got points (data.source {source!r}); remove it"
        )
    side = image["size"] if image else DIGITS_SIDE if kind is Digits else None
    if side is not None and side < NETS[lpips["net"]].min_side:
        able = [f"{name!r} ({net.min_side})" for name, net in NETS.items() if net.min_side <= side]
        remedy = f"use net {' or '.join(able)}" if able else "remove 'lpips' from metrics.list"
        raise ValueError(
            f"metrics.lpips.net: {lpips['net']!r} needs images with sides of at least "
            f"{NETS[lpips['net']].min_side} pixels, got {side}; {remedy}"
        )
    if lpips["within"] != "all":
        _check_conditions(lpips["within"], spec)


def _check_conditions(within: str, spec: dict) -> None:
    """Pairs with the same condition exist only if the samples of every arm have one."""
    guidances = choices.with_plugins("guidances", GUIDANCE)
    for name, arm in spec["arms"].items():
        if not guidances[guidance_kind(arm, spec)].is_conditional:
            raise ValueError(
                f"metrics.lpips.within: {within!r} needs arms whose samples have a label or a "
                f"text, got arm {name!r} without guidance; use 'all', or give the arm a guidance"
            )
