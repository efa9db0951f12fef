"""The part of the config that figures read: the arms, and the sections that they refer to."""

from routing.workflow import choices


class ConfigView:
    """Sections of the config as {name: entry}, in the order of the config file."""

    def __init__(self, spec: dict):
        """Keep `spec`, the part of the config that the rule passes to a figure."""
        self.spec = spec

    @property
    def arms(self) -> dict[str, dict]:
        """{arm: {partition, router, policy, sampler, guidance}}."""
        return self.spec["arms"]

    @property
    def num_training_seeds(self) -> int:
        """Number of seeds with which every expert and router is trained."""
        return self.spec["num_training_seeds"]

    @property
    def routers(self) -> dict[str, dict]:
        """{router: {name, options}}."""
        return self.spec["all_routers"]

    @property
    def guidances(self) -> dict[str, dict]:
        """{guidance: {name, options}}."""
        return self.spec["guidances"]

    @property
    def partitions(self) -> dict[str, dict]:
        """{partition: {encoder, method}}."""
        return self.spec["partitions"]

    @property
    def policies(self) -> dict[str, dict]:
        """{policy: {name, options}}."""
        return self.spec["policies"]

    @property
    def samplers(self) -> dict[str, dict]:
        """{sampler: {name, options}}."""
        return self.spec["samplers"]

    @property
    def num_experts(self) -> dict[str, int]:
        """{partition: number of experts K}."""
        return self.spec["num_experts"]

    def selected_arms(self, arms: tuple[str, ...]) -> list[str]:
        """Return `arms`, or all arms if it is empty; raise ValueError on an unknown name."""
        for arm in arms:
            require_known(arm, list(self.arms), "arms")
        return list(arms or self.arms)


def require_known(name: str, valid: list[str], where: str) -> str:
    """Return `name`; raise ValueError with the nearest valid names if it is not in `valid`."""
    if name not in valid:
        raise ValueError(f"{where}: unknown name {name!r}" + choices.suggest_names(name, valid))
    return name


def display_name(name: str) -> str:
    """Return `name` with spaces instead of underscores."""
    return name.replace("_", " ")
