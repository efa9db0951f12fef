"""Checks of exact worlds: Gaussian mixtures whose posterior and velocities have a closed form.

The closed form needs `data.source: mixture`, whose samples are points; networks need images.
"""

from routing.config.registries import ROUTERS
from routing.data.sources import SOURCES, MixtureSource
from routing.ensemble.routers import ExactOptions
from routing.stages.classifier import CLASSIFIERS, TrainedClassifier
from routing.stages.experts import EXPERTS, Exact, Transformer
from routing.stages.router import Learned
from routing.workflow import choices


def check(spec: dict) -> None:
    """Networks are trained on images only; closed forms exist for a mixture only."""
    source, experts = spec["data"]["source"]["name"], spec["experts"]["name"]
    is_mixture = choices.with_plugins("sources", SOURCES)[source] is MixtureSource
    kind = choices.with_plugins("experts", EXPERTS)[experts]
    if kind is Exact and not is_mixture:
        raise ValueError(
            f"experts: {experts!r} needs data.source 'mixture', got {source!r}, which has no "
            f"closed form; choose 'transformer'"
        )
    points = f"needs images, got points (data.source {source!r})"
    if is_mixture and kind is Transformer:
        raise ValueError(f"experts: {experts!r} {points}; choose 'exact'")
    _check_routers(spec, is_mixture, kind is Exact, points)
    space = spec["metrics"]["feature_space"]
    name = spec["classifiers"].get(space, {}).get("name")
    classifiers = choices.with_plugins("classifiers", CLASSIFIERS)
    if is_mixture and name and classifiers[name] is TrainedClassifier:
        raise ValueError(f"metrics.feature_space: {space!r} ({name}) {points}; name an encoder")


def _check_routers(spec: dict, is_mixture: bool, is_exact: bool, points: str) -> None:
    routers = choices.with_plugins("routers", ROUTERS)
    for name, arm in spec["arms"].items():
        kind = spec["routers"][arm["router"]]["name"]
        where = f"arms.{name}.router: {arm['router']!r} ({kind})"
        if is_mixture and routers[kind] is Learned:
            raise ValueError(f"{where} {points}; choose a router that is not trained")
        if not is_exact and routers[kind] is ExactOptions:
            raise ValueError(
                f"{where} needs experts 'exact', got {spec['experts']['name']!r}; choose another "
                f"router"
            )
