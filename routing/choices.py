"""Choices are tables: `{name: ..., options}` becomes a frozen dataclass of the table's row.

A table maps names to frozen dataclasses; the fields are the options. `build` makes the object,
`resolve` the dictionary with every default written out, `schema` the JSON schema. An option
whose type is itself a row's protocol (a policy inside a policy) nests: such a field is annotated
with a class that the table's rows are listed under in `NESTED`. All errors are one line and
name the key, what was wanted, what was got and the nearest valid name.

Third parties add rows from their own package through an entry point in the group
`routing.<table>`, e.g. `[project.entry-points."routing.policies"]  mine = "package:Mine"`.
"""

import dataclasses
import difflib
import typing
from importlib import metadata
from typing import Any

from pydantic import TypeAdapter, ValidationError

Table = dict[str, type]


def rows(group: str, own: Table) -> Table:
    """The package's `own` rows and those that installed packages add to `routing.<group>`."""
    table = dict(own)
    for entry in metadata.entry_points(group=f"routing.{group}"):
        if entry.name in own:
            raise ValueError(
                f"entry point routing.{group}:{entry.name} ({entry.value}) has the name of a row "
                f"of this package; give it another name"
            )
        table[entry.name] = entry.load()
    return table


def build(table: Table, value: Any, where: str) -> Any:
    """The object that `value` ({name: ..., options}) describes.

    Raises ValueError (one line, beginning with the key `where`) on an unknown name or option, a
    wrong type, a missing option, or a value that the row itself refuses.
    """
    kind, options = _split(table, value, where)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in options:
        if key not in fields:
            raise ValueError(
                f"{where}: unknown option {key!r} of {value['name']!r}"
                + nearest(key, list(fields), "it has no options")
            )
    hints = typing.get_type_hints(kind, include_extras=True)
    built = {}
    for key, field in fields.items():
        if key in options:
            built[key] = _leaf(hints[key], options[key], f"{where}.{key}", table)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: {value['name']!r} needs the option {key!r}; add it")
    try:
        return kind(**built)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def resolve(table: Table, value: Any, where: str) -> dict:
    """`value` with every default written out, after `build` has accepted it."""
    return describe(table, build(table, value, where))


def describe(table: Table, choice: Any) -> dict:
    """The dictionary {name: ..., options} of a built choice."""
    name = next(n for n, kind in table.items() if type(choice) is kind)
    options = {}
    for field in dataclasses.fields(choice):
        value = getattr(choice, field.name)
        nested = type(value) in table.values()
        if nested:
            options[field.name] = describe(table, value)
        elif dataclasses.is_dataclass(value):
            options[field.name] = dataclasses.asdict(value)
        else:
            options[field.name] = list(value) if isinstance(value, tuple) else value
    return {"name": name} | options


def schema(table: Table, reference: str) -> dict:
    """JSON schema of a choice from `table`; nested choices point to `reference`."""
    return {"oneOf": [_row_schema(n, kind, reference) for n, kind in table.items()]}


def nearest(word: str, valid: list[str], none: str = "none is defined") -> str:
    """`; did you mean 'x'? ...`: the end of an error line about an unknown name."""
    if not valid:
        return f"; {none}"
    close = difflib.get_close_matches(str(word), valid, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} valid names: {', '.join(valid)}"


def typed(kind: Any, value: Any, where: str) -> Any:
    """`value` if it is of type `kind` (strictly: no text for numbers), else one line."""
    try:
        return TypeAdapter(kind).validate_python(value, strict=not _lenient(kind))
    except ValidationError as error:
        detail = error.errors()[0]
        path = ".".join([where, *[str(part) for part in detail["loc"]]])
        hint = ""
        if isinstance(detail["input"], str) and "e" in detail["input"].lower():
            hint = " (YAML reads 1e-3 as text; write 1.0e-3)"
        raise ValueError(
            f"{path}: {_lower(detail['msg'])}, got {detail['input']!r}{hint}"
        ) from None


def _split(table: Table, value: Any, where: str) -> tuple[type, dict]:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError(f"{where}: wanted {{name: ..., options}}, got {value!r}; give it a name")
    name = value["name"]
    if name not in table:
        raise ValueError(f"{where}: unknown name {name!r}" + nearest(name, list(table)))
    return table[name], {key: v for key, v in value.items() if key != "name"}


def _leaf(hint: Any, value: Any, where: str, table: Table) -> Any:
    if _is_protocol(hint):
        return build(table, value, where)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return build({hint.__name__: hint}, {"name": hint.__name__} | value, where)
    return typed(hint, value, where)


def _is_protocol(hint: Any) -> bool:
    return getattr(hint, "_is_protocol", False)


def _lenient(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple  # YAML has lists only


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _row_schema(name: str, kind: type, reference: str) -> dict:
    properties: dict[str, Any] = {"name": {"const": name}}
    required = ["name"]
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if _is_protocol(hints[field.name]):
            properties[field.name] = {"$ref": reference}
        else:
            properties[field.name] = TypeAdapter(hints[field.name]).json_schema()
        if field.default is field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return {
        "type": "object",
        "description": text,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
