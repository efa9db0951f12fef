"""What the config names, for figures: arms and the tables that their parts are from."""

from routing.workflow import choices


class ConfigView:
    """The tables of the config by name, in its order."""

    def __init__(self, spec: dict):
        """Hold the part of the config that a figure may see."""
        self.spec = spec

    @property
    def arms(self) -> dict[str, dict]:
        """{arm: {partition, router, policy, sampler, guidance}}."""
        return self.spec["arms"]

    @property
    def num_training_seeds(self) -> int:
        """How often everything was trained."""
        return self.spec["num_training_seeds"]

    @property
    def routers(self) -> dict[str, dict]:
        """{router: {name, options}} of the config."""
        return self.spec["all_routers"]

    @property
    def guidances(self) -> dict[str, dict]:
        """{guidance: {name, options}} of the config."""
        return self.spec["guidances"]

    @property
    def partitions(self) -> dict[str, dict]:
        """{partition: {encoder, method}} of the config."""
        return self.spec["partitions"]

    @property
    def policies(self) -> dict[str, dict]:
        """{policy: {name, options}} of the config."""
        return self.spec["policies"]

    @property
    def samplers(self) -> dict[str, dict]:
        """{sampler: {name, options}} of the config."""
        return self.spec["samplers"]

    def selected_arms(self, arms: tuple[str, ...]) -> list[str]:
        """`arms` as they are given, all if none is; ValueError on a name that no arm has."""
        for arm in arms:
            require_known(arm, list(self.arms), "arms")
        return list(arms or self.arms)

    @property
    def num_experts(self) -> dict[str, int]:
        """K by partition."""
        return self.spec["num_experts"]


def require_known(name: str, valid: list[str], where: str) -> str:
    """`name` if it is among `valid`; else ValueError with the nearest of them."""
    if name not in valid:
        raise ValueError(
            f"{where}: nothing is named {name!r}" + choices.suggest_names(name, valid)
        )
    return name


def display_name(name: str) -> str:
    """Return `name` with spaces instead of underscores."""
    return name.replace("_", " ")
