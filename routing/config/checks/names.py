"""Names that must be those of something."""

from collections.abc import Collection

from routing.workflow import choices


def named(where: str, name: str, valid: Collection[str]) -> None:
    """ValueError, with the nearest valid name, if `name` is none of `valid`."""
    if name not in valid:
        raise ValueError(
            f"{where}: nothing is named {name!r}" + choices.suggest_names(name, [*valid])
        )
