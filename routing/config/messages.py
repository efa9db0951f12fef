"""Errors of pydantic as one line: the key, what was wanted, what was got and the remedy."""

from types import UnionType
from typing import Any

from pydantic import BaseModel, ValidationError

from routing.workflow import choices


def first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one line on the first error of a config that `model` does not accept."""
    return " ".join(_message(error, model).split())


def _message(error: ValidationError, model: type[BaseModel]) -> str:
    # A misspelt key causes two errors, an unknown key and a missing one. Report the unknown one.
    detail = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "the config"
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"]).replace("@", where, 1)
    if detail["type"] == "extra_forbidden":
        names = _valid_keys(detail["loc"], model)
        return f"{where}: unknown key" + choices.suggest_names(detail["loc"][-1], names)
    if detail["type"] == "missing":
        return f"{where}: this key is missing; add it"
    return f"{where}: {choices.wanted_and_got(detail)}"


def _valid_keys(loc: tuple, model: type[BaseModel]) -> list[str]:
    """Return the valid keys of the section that holds the key at `loc`."""
    kind: Any = model
    for part in loc[:-1]:
        fields = getattr(kind, "model_fields", None)
        kind = fields[part].annotation if fields else kind.__args__[-1]
        if isinstance(kind, UnionType):  # X | None
            kind = kind.__args__[0]
    return [*kind.model_fields]
