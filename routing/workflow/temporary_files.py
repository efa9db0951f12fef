"""Names of temporary files, and the removal of those that a killed process left behind.

A temporary file is in the folder of its output and is called  .<output>.<host>.<pid>.tmp . So a
process can tell on its own host which of them nobody writes any more.
"""

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

HOST = re.sub(r"[^A-Za-z0-9_-]", "-", platform.node())[:64] or "localhost"
NAME = re.compile(r"\..+\.(?P<host>[A-Za-z0-9_-]+)\.(?P<pid>\d+)\.tmp")


def temporary_path(path: Path, part: str = "") -> Path:
    """Return the temporary file of this process for the output `path`, or for a part of it."""
    middle = f".{part}" if part else ""
    return path.with_name(f".{path.name}{middle}.{HOST}.{os.getpid()}.tmp")


def remove_abandoned(root: Path) -> list[Path]:
    """Remove all temporary files below `root` whose process on this host is gone; return them."""
    return _remove(root.rglob(".*.tmp"))


def remove_abandoned_of(path: Path) -> list[Path]:
    """Remove the temporary files of the output `path` whose process is gone; return them."""
    beside = path.parent.iterdir()
    return _remove(found for found in beside if found.name.startswith(f".{path.name}."))


def _remove(paths: Iterable[Path]) -> list[Path]:
    abandoned = [path for path in paths if _is_abandoned(path)]
    for path in abandoned:
        path.unlink(missing_ok=True)
    return abandoned


def _is_abandoned(path: Path) -> bool:
    found = NAME.fullmatch(path.name)
    if not found or found["host"] != HOST:
        return False  # a process of another host cannot be seen from here
    try:
        os.kill(int(found["pid"]), 0)  # signal 0 only asks whether the process exists
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False  # it exists, and belongs to somebody else
    return False
