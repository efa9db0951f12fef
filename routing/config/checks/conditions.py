"""Checks of conditions: the experts, the router and the guidance of an arm must agree on one."""

from routing.config.registries import ROUTERS
from routing.ensemble.routers import ConditionalPriorOptions, NearestCentroidOptions
from routing.stages.experts import EXPERTS, Exact
from routing.workflow import choices


def check(spec: dict) -> None:
    """Check every arm."""
    for name, arm in spec["arms"].items():
        _check_guidance(f"arms.{name}.guidance", arm, spec)
        _check_experts(arm, spec)
        _check_router(f"arms.{name}.router", arm, spec)


def _check_guidance(where: str, arm: dict, spec: dict) -> None:
    """Guidance needs experts with a condition."""
    guidance, partition = guidance_kind(arm, spec), arm["partition"]
    if guidance != "none" and spec["partitions"][partition]["condition"] == "none":
        raise ValueError(
            f"{where}: {arm['guidance']!r} ({guidance}) needs conditional experts, partition "
            f"{partition!r} has condition 'none'; change it to 'label' or 'text'"
        )


def _check_experts(arm: dict, spec: dict) -> None:
    """Exact experts have no texts."""
    partition = arm["partition"]
    is_exact = choices.with_plugins("experts", EXPERTS)[spec["experts"]["name"]] is Exact
    if is_exact and spec["partitions"][partition]["condition"] == "text":
        raise ValueError(
            f"partitions.{partition}.condition: wanted 'none' or 'label', the conditions of "
            f"experts 'exact', got 'text'; change one of them"
        )


def _check_router(where: str, arm: dict, spec: dict) -> None:
    """A router has the condition of the experts, or none; some kinds need a certain one."""
    partition, router = arm["partition"], spec["routers"][arm["router"]]
    kind = choices.with_plugins("routers", ROUTERS)[router["name"]]
    condition = spec["partitions"][partition]["condition"]
    own = router.get("condition", "none")
    if own not in ("none", condition):
        raise ValueError(
            f"{where}: {arm['router']!r} has condition {own!r}, the experts of partition "
            f"{partition!r} have {condition!r}; make them equal"
        )
    if kind is ConditionalPriorOptions and condition != "label":
        raise ValueError(
            f"{where}: {arm['router']!r} (conditional_prior) needs a partition with condition "
            f"'label', got {condition!r}; choose another router"
        )
    encoder = spec["encoders"][spec["partitions"][partition]["encoder"]]
    if (
        kind is NearestCentroidOptions
        and spec["autoencoder"]
        and encoder.get("reads") != "latents"
    ):
        raise ValueError(
            f"{where}: {arm['router']!r} (nearest_centroid) needs centroids of latents, those of "
            f"partition {partition!r} are of images; choose an encoder that reads latents"
        )
    if kind.uses_label_counts and condition == "text" and guidance_kind(arm, spec) != "none":
        raise ValueError(
            f"{where}: {arm['router']!r} ({router['name']}) needs p(k | label), the samples have "
            f"a text and no label; choose another router or guidance 'none'"
        )


def guidance_kind(arm: dict, spec: dict) -> str:
    """Return the name of the guidance's row in its table; "none" for an arm without guidance."""
    return spec["guidances"].get(arm["guidance"], {"name": "none"})["name"]
