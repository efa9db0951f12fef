"""Weights and data sets of other people: where they are, what they must be, who may use them.

`manifest.yaml` has for every id its files (name in the weights folder, address, bytes, sha256),
licence and use; what no public source says is null, never a guess. A file is found by its own
path, or by its id in the one weights folder: $ROUTING_WEIGHTS, or ./weights. It is what it is
called if its size and sha256 are those of the manifest; the sha256 of a file is computed once and
remembered by (path, size, time of change). Nothing is fetched unless it is asked for:

    python -m routing.pretrained.manifest list                present, absent or wrong; licences
    python -m routing.pretrained.manifest check [ID ...]      read anew; exit status 1 if one is
                                                              wrong, or absent though named
    python -m routing.pretrained.manifest fetch ID [ID ...]   goes on where it was stopped

A file without a known sha256 is `unverifiable`: it is fetched only with --accept, which writes the
sha256 of what came beside it (NAME.sha256); from then on that is what it must be.
To add one, give it an entry in the YAML.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from routing.workflow.choices import suggest_names

MANIFEST = Path(__file__).with_name("manifest.yaml")


@dataclass(frozen=True)
class File:
    """One file: its name in the folder, where it comes from, what it must be (null: unknown)."""

    file: str
    address: str
    bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class Entry:
    """What an id means; several files share a folder."""

    id: str
    files: tuple[File, ...]
    licence: str | None
    use: str

    @property
    def name(self) -> str:
        """The file, or the folder of the files, inside the weights folder."""
        return self.files[0].file if len(self.files) == 1 else self.files[0].file.split("/")[0]


@cache
def entries(section: str = "weights") -> dict[str, Entry]:
    """All entries of a section of the manifest (`weights` or `data`), by id."""
    raw = yaml.safe_load(MANIFEST.read_text())[section]
    return {
        name: Entry(name, tuple(File(**f) for f in e["files"]), e["licence"], e["use"])
        for name, e in raw.items()
    }


def entry(name: str) -> Entry:
    """The entry of an id; an unknown one is a ValueError of one line."""
    known = entries() | entries("data")
    if name not in known:
        raise ValueError(f"weights: unknown id {name!r}{suggest_names(name, list(known))}")
    return known[name]


def folder(given: Path | None = None) -> Path:
    """The weights folder."""
    return given or Path(os.environ.get("ROUTING_WEIGHTS") or "weights")


def locate(name: str, where: Path | None = None, sha256: str | None = None) -> Path:
    """The verified file (or folder of files) of an id of the manifest, or of a path.

    `sha256` is what the caller wants the file to be, above what the manifest says; a path need
    not be in the manifest. Raises ValueError (one line, with all that is known and how to get
    it) if a file is absent or wrong.
    """
    path = Path(name)
    if name not in entries() | entries("data"):
        if not path.is_file():
            known = ", ".join(entries())
            raise ValueError(
                f"weights: no file {name} and no such id; give a path or one of {known}"
            )
        wanted = File(name, "", None, sha256)
        if complaint := problem(wanted, path):
            raise ValueError(f"weights: {path}: {complaint}; give the file that was meant")
        return path
    found = entry(name)
    for file in found.files:
        path = folder(where) / file.file
        complaint = problem(file, path)
        if complaint is None and sha256 and len(found.files) == 1:
            complaint = problem(File(file.file, file.address, None, sha256), path)
        if complaint:
            raise ValueError(
                f"weights {name!r}: {complaint}; file {file.file}, address {file.address}, "
                f"{said(file.bytes)} bytes, sha256 {said(file.sha256)}, licence "
                f"{said(found.licence)}, expected at {path.absolute()}: "
                f"python -m routing.pretrained.manifest fetch {name}"
            )
    return folder(where) / found.name


def problem(file: File, path: Path, anew: bool = False) -> str | None:
    """Why `path` is not `file`; None if it is, as far as is known. `anew`: whatever was known."""
    if not path.is_file():
        return "absent"
    if file.bytes is not None and path.stat().st_size != file.bytes:
        return f"wanted {file.bytes} bytes, got {path.stat().st_size}"
    expected = file.sha256 or accepted(path)
    if expected and (found := sha256_of(path, anew)) != expected:
        return f"wanted sha256 {expected}, got {found}"
    return None


def accepted(path: Path) -> str | None:
    """The sha256 that was accepted for a file of which the manifest knows none."""
    beside = path.with_name(path.name + ".sha256")
    return beside.read_text().split()[0] if beside.is_file() else None


def said(value: Any) -> str:
    """A fact of the manifest, or that it has none."""
    return "unknown" if value is None else str(value)


def sha256_of(path: Path, anew: bool = False) -> str:
    """sha256 of a file, computed once for a path, size and time of change (`anew`: again)."""
    state = path.stat()
    key = f"{path.resolve()}\n{state.st_size}\n{state.st_mtime_ns}"
    memory = _cache() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    try:
        note = json.loads(memory.read_text())
        if note["key"] == key and not anew:
            return note["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a memory that cannot be read is none
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=memory.parent, delete=False) as file:
            json.dump({"key": key, "sha256": found}, file)
        os.replace(file.name, memory)
    except OSError:
        pass  # nor is one that cannot be written an error: the next reader computes again
    return found


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "routing" / "sha256"


def state(file: File, path: Path, anew: bool = False) -> str:
    """`present`, `absent`, `wrong` or `unverifiable`."""
    complaint = problem(file, path, anew)
    if complaint:
        return "absent" if complaint == "absent" else "wrong"
    return "present" if file.sha256 or accepted(path) else "unverifiable"
