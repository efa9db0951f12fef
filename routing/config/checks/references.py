"""Keys whose value is the name of something else in the config."""

from collections.abc import Collection

from routing.workflow import choices


def require_known(where: str, name: str, valid: Collection[str]) -> None:
    """Raise ValueError, with the nearest valid name, unless `name` is one of `valid`."""
    if name not in valid:
        raise ValueError(f"{where}: unknown name {name!r}" + choices.suggest_names(name, [*valid]))
