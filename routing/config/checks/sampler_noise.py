"""Checks of routers that read the noise that a stochastic sampler adds."""

from routing.config.registries import ROUTERS
from routing.flow.samplers import SAMPLERS
from routing.workflow import choices


def check(spec: dict) -> None:
    """A router that reads the sampler's noise needs a stochastic sampler."""
    routers = choices.with_plugins("routers", ROUTERS)
    samplers = choices.with_plugins("samplers", SAMPLERS)
    for name, arm in spec["arms"].items():
        kind = spec["routers"][arm["router"]]["name"]
        is_stochastic = samplers[spec["samplers"][arm["sampler"]]["name"]].is_stochastic
        if routers[kind].needs_noise and not is_stochastic:
            raise ValueError(
                f"arms.{name}.router: {arm['router']!r} ({kind}) needs a stochastic sampler "
                f"('ancestral'), got {arm['sampler']!r}; change one of them"
            )
