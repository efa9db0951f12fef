"""Installed packages that add rows to tables of choices: their versions and their source files.

Nothing of them is imported, so the Snakefile can look for them, and a broken one does no harm.
"""

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from routing.workflow.plugins import PREFIX


@dataclass(frozen=True)
class PluginPackage:
    """One distribution, as far as it adds rows to some groups."""

    distribution: str
    version: str
    rows: tuple[str, ...]  # group:name=module:class, in order
    modules: tuple[str, ...]  # those that the entry points name

    @property
    def roots(self) -> dict[str, list[Path]]:
        """The folders that contain each top-level package or module of the entry points."""
        return {top: _folders(top) for top in sorted({m.split(".")[0] for m in self.modules})}

    @property
    def files(self) -> dict[str, Path]:
        """The Python files of the top-level packages, by their path from the folder above."""
        found = {}
        for top, folders in self.roots.items():
            for folder in folders:
                module = folder / f"{top}.py"
                paths = [module] if module.is_file() else (folder / top).rglob("*.py")
                found |= {path.relative_to(folder).as_posix(): path for path in sorted(paths)}
        return found


def groups() -> list[str]:
    """Return the groups, without `routing.`, to which installed packages add rows."""
    return sorted(_entries(metadata.entry_points, tuple(sys.path)))


def packages(of: list[str]) -> list[PluginPackage]:
    """Return the packages that add rows to the groups `of`, by name."""
    known = _entries(metadata.entry_points, tuple(sys.path))
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for group in sorted(set(of) & known.keys()):
        for entry in known[group]:
            row = (f"{group}:{entry.name}={entry.value}", entry.value.partition(":")[0].strip())
            found.setdefault(_distribution(entry), []).append(row)
    return [
        PluginPackage(*of, *(tuple(sorted(set(part))) for part in zip(*rows, strict=True)))
        for of, rows in sorted(found.items())
    ]


@cache  # the scan of all installed packages takes a tenth of a second
def _entries(entry_points: Any, _path: tuple[str, ...]) -> dict[str, list[Any]]:
    installed = entry_points()
    names = [name for name in installed.groups if name.startswith(PREFIX)]
    return {name.removeprefix(PREFIX): list(installed.select(group=name)) for name in names}


def _distribution(entry: Any) -> tuple[str, str]:
    if entry.dist is None:
        return entry.value.partition(":")[0].split(".")[0].strip(), "unknown"
    return entry.dist.name, entry.dist.version


def _folders(top: str) -> list[Path]:
    """Return the folders that contain the top-level module; none if it is missing or compiled."""
    try:
        spec = importlib.util.find_spec(top)  # finds a top-level module without importing it
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder).parent for folder in spec.submodule_search_locations]
    return [Path(spec.origin).parent] if spec.origin and spec.origin.endswith(".py") else []
