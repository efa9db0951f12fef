"""Choices {name: ..., options} from tables of frozen dataclasses.

A table maps names to frozen dataclasses, whose fields are the options. `build` returns the object
of a choice, `resolve` the choice with every default written out, and `schema` its JSON schema. An
option whose type is the protocol of the rows (a policy inside a policy) is itself a choice from
the same table. If it is from another table, the class variable `tables` of the row names it:
{option: (group, table)}. Errors are one line: the key, what was wanted, what was got, and the
nearest valid name.

Another package adds rows through an entry point in the group `routing.<table>`, for example
`[project.entry-points."routing.policies"]  mine = "package:Mine"` (`routing.workflow.plugins`).
"""

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from routing.workflow.plugins import PluginTable

Table = Mapping[str, Any]  # names and frozen dataclasses
HEX = r"^[0-9a-f]{64}$"
Sha256 = Annotated[str, Field(pattern=HEX)]
FINITE = ConfigDict(allow_inf_nan=False)
WANTED = {
    "string_pattern_mismatch": "a name of a-z, 0-9 and _ that begins with a letter",
    "model_type": "keys with values",
    "dict_type": "keys with values",
    "missing": "one more item",
    "too_short": "at least one item",
}


def with_plugins(group: str, own: Table) -> Table:
    """Return the table `own` with the rows that installed packages add to `routing.<group>`.

    A foreign row is imported when it is looked up, and only then can be found to be broken.
    """
    return PluginTable(group, own)


def usable_rows(table: Table) -> Iterable[tuple[str, type]]:
    """Return the rows (name, class) of a table, without broken ones of other packages."""
    return table.loadable() if isinstance(table, PluginTable) else table.items()


def build(table: Table, value: Any, where: str) -> Any:
    """Return the object that `value` ({name: ..., options}) describes.

    Raises ValueError, one line that begins with the key `where`, on an unknown name or option, a
    wrong type, a missing option, or a value that the row does not accept.
    """
    name, options = _split(table, value, where)
    try:
        kind = table[name]
    except ValueError as error:  # a row of another package that cannot be used
        raise ValueError(f"{where}: {error}") from error
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in options:
        if key not in fields:
            raise ValueError(
                f"{where}: unknown option {key!r} of {name!r}"
                + suggest_names(key, list(fields), "it has no options")
            )
    hints = typing.get_type_hints(kind, include_extras=True)
    built = {}
    for key, field in fields.items():
        if key in options:
            of = _table(kind, key, table)
            built[key] = _leaf(hints[key], options[key], f"{where}.{key}", of)
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}: {name!r} needs the option {key!r}; add it")
    try:
        return kind(**built)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def resolve(table: Table, value: Any, where: str) -> dict:
    """Return the choice `value` with every default written out. Raises ValueError like `build`."""
    return describe(table, build(table, value, where))


def describe(table: Table, choice: Any) -> dict:
    """Return the dictionary {name: ..., options} of an object that `build` returned."""
    name = next(n for n, kind in usable_rows(table) if type(choice) is kind)
    hints, options = typing.get_type_hints(type(choice), include_extras=True), {}
    for field in dataclasses.fields(choice):
        value, of = getattr(choice, field.name), _table(type(choice), field.name, table)
        nested = _is_protocol(hints[field.name])
        options[field.name] = describe(of, value) if nested else _lists(value)
    return {"name": name} | options


def schema(table: Table, reference: str) -> dict:
    """Return the JSON schema of a choice from `table`, stored at `reference`.

    Nested choices refer to it. The schemas of other tables are stored beside it, each under the
    name of its group.
    """
    by_name = {name: _row_schema(name, kind, reference) for name, kind in table.items()}
    bare = [name for name, row in by_name.items() if row["required"] == ["name"]]
    return {"oneOf": [*by_name.values(), *([{"enum": bare}] if bare else [])]}


def suggest_names(word: Any, valid: list[str], none: str = "none is defined") -> str:
    """Return the end of an error about an unknown name: the nearest one, and all valid names."""
    if not valid:
        return f"; {none}"
    close = difflib.get_close_matches(str(word), valid, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} valid names: {', '.join(valid)}"


def validate_type(kind: Any, value: Any, where: str) -> Any:
    """Return `value`. Raises ValueError unless its type is `kind`; text is not a number."""
    try:
        return TypeAdapter(kind, config=FINITE).validate_python(_tuples(value), strict=True)
    except ValidationError as error:
        detail = error.errors()[0]
        path = ".".join([where, *[str(part) for part in detail["loc"]]])
        raise ValueError(f"{path}: {wanted_and_got(detail)}") from None


def wanted_and_got(detail: Any) -> str:
    """Return `wanted ..., got ...` for an error of pydantic."""
    value = detail["input"]
    wanted = WANTED.get(detail["type"], detail["msg"].removeprefix("Input should be "))
    if detail.get("ctx", {}).get("pattern") == HEX:
        wanted = "a sha256 of 64 digits in 0-9 and a-f"
    return (
        f"wanted {wanted[:1].lower()}{wanted[1:]}, got {shortened(_lists(value))}{_remedy(detail)}"
    )


def shortened(value: Any) -> str:
    """Return the value as text, truncated to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _split(table: Table, value: Any, where: str) -> tuple[str, dict]:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict) or "name" not in value:
        raise ValueError(
            f"{where}: wanted {{name: ..., options}}, got {shortened(value)}; add a name"
        )
    name = value["name"]
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"{where}: unknown name {name!r}" + suggest_names(name, list(table)))
    return name, {key: v for key, v in value.items() if key != "name"}


def _leaf(hint: Any, value: Any, where: str, table: Table) -> Any:
    if _is_protocol(hint):
        return build(table, value, where)
    return validate_type(hint, value, where)


def _table(kind: type, option: str, table: Table) -> Table:
    """Return the table of the choice `option` of the row `kind`, which is in `table`."""
    other = getattr(kind, "tables", {}).get(option)
    return with_plugins(*other) if other else table


def _is_protocol(hint: Any) -> bool:
    return getattr(hint, "_is_protocol", False)


def _tuples(value: Any) -> Any:
    """Convert the lists of YAML to the tuples of options."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _lists(value: Any) -> Any:
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value


def _remedy(detail: Any) -> str:
    value = detail["input"]
    if detail["type"] == "string_type" and isinstance(value, bool):
        return " (YAML reads on, off, yes and no as true or false; quote it)"
    if detail["type"] == "string_type" and isinstance(value, int | float):
        return " (a number; quote it)"
    if detail["type"] not in ("int_type", "float_type") or not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    if "e" in value.lower():
        return " (YAML reads 1e-3 as text; write 1.0e-3)"
    return " (text; take the quotes away)"


def _row_schema(name: str, kind: type, reference: str) -> dict:
    properties: dict[str, Any] = {"name": {"const": name}}
    required = ["name"]
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        if _is_protocol(hints[field.name]):
            beside, here = reference.rsplit("/", 1)
            group = getattr(kind, "tables", {}).get(field.name, (here,))[0]
            properties[field.name] = {"$ref": f"{beside}/{group}"}
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
