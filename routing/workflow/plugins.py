"""Rows of other packages: entry points in the groups `routing.<table>`.

`PluginTable` is a table of choices whose foreign rows are loaded when they are looked up. Their
names are known without an import, so a mistake in one package affects only the configs that name
its row.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

PREFIX = "routing."


class PluginTable(Mapping[str, type]):
    """The table `own`, and the rows that installed packages add to the group `routing.<group>`.

    Looking up a foreign row imports its package. Raises ValueError, one line that names the entry
    point, if this fails, if the row is not a frozen dataclass, or if the name is defined twice.
    """

    def __init__(self, group: str, own: Mapping[str, type]):
        """Read the names of the rows; nothing is imported."""
        self.own = own
        self.entries: dict[str, list[Any]] = {}
        for entry in metadata.entry_points(group=f"{PREFIX}{group}"):
            self.entries.setdefault(entry.name, []).append(entry)
        self.group = group

    def __getitem__(self, name: str) -> type:
        """Return the class of a row."""
        if name not in self.entries:
            return self.own[name]
        first, *others = self.entries[name]
        what = f"entry point {PREFIX}{self.group}:{name} ({first.value})"
        if name in self.own:
            raise ValueError(f"{what} has the name of a row of this package; rename it")
        if different := [entry.value for entry in others if entry.value != first.value]:
            raise ValueError(
                f"{what} has the name of another entry point, {different[0]}; rename one of them "
                f"or uninstall its package"
            )
        return _load(first, what)

    def __iter__(self) -> Iterator[str]:
        """Return the names, first those of this package."""
        return iter(dict.fromkeys([*self.own, *self.entries]))

    def __len__(self) -> int:
        """Return the number of names."""
        return len({*self.own, *self.entries})

    def __contains__(self, name: object) -> bool:
        """Return whether there is a row of this name; it is not loaded."""
        return name in self.own or name in self.entries

    def loadable(self) -> Iterator[tuple[str, type]]:
        """Yield the rows of this package, then those of others that can be loaded.

        Another row cannot have been used, because a config that names it is refused.
        """
        yield from self.own.items()
        for name in self.entries:
            try:
                yield name, self[name]
            except ValueError:
                continue


def _load(entry: Any, what: str) -> type:
    try:
        kind = entry.load()
    except Exception as error:  # whatever the code of another package may raise
        detail = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"{what} cannot be loaded ({detail[:160]}); correct or uninstall its package"
        ) from error
    is_row = isinstance(kind, type) and dataclasses.is_dataclass(kind)
    if not (is_row and kind.__dataclass_params__.frozen):
        got = f"the class {kind.__name__}" if isinstance(kind, type) else f"{kind!r:.80}"
        raise ValueError(
            f"{what}: wanted a frozen dataclass, got {got}; write @dataclass(frozen=True) above "
            f"the class"
        )
    return kind
