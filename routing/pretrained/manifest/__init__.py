"""The manifest of published weights and data sets: their files, addresses, sha256 and licences.

`manifest.yaml` has for every id its files (name in the weights folder, address, bytes, sha256),
licence and use. A value that no public source gives is null. A file is found by its path, or by
its id in the weights folder, $ROUTING_WEIGHTS or ./weights. Its size and sha256 must be those of
the manifest; a sha256 is cached by path, size and modification time. Nothing is downloaded without
a command:

    python -m routing.pretrained.manifest list                state and licence of all files
    python -m routing.pretrained.manifest check [ID ...]      compute every sha256 again; exit
                                                              status 1 if a file is wrong, or if
                                                              a file of a given ID is absent
    python -m routing.pretrained.manifest fetch ID [ID ...]   download, or resume a download

The state of a file without a known sha256 is `unverifiable`. It is downloaded only with --accept,
which stores its sha256 in NAME.sha256; from then on the file must have it. To add a file, give it
an entry in the YAML.
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
    """One file: its name in the folder, its address, size and sha256; None: unknown."""

    file: str
    address: str
    bytes: int | None
    sha256: str | None


@dataclass(frozen=True)
class Entry:
    """One entry: an id with its files, which share a folder if there are several."""

    id: str
    files: tuple[File, ...]
    licence: str | None
    use: str

    @property
    def name(self) -> str:
        """Name of the file, or of the folder of the files, in the weights folder."""
        return self.files[0].file if len(self.files) == 1 else self.files[0].file.split("/")[0]


@cache
def entries(section: str = "weights") -> dict[str, Entry]:
    """Return all entries of a section of the manifest (`weights` or `data`), by id."""
    raw = yaml.safe_load(MANIFEST.read_text())[section]
    return {
        name: Entry(name, tuple(File(**f) for f in e["files"]), e["licence"], e["use"])
        for name, e in raw.items()
    }


def entry(name: str) -> Entry:
    """Return the entry of an id. Raises ValueError if it is unknown."""
    known = entries() | entries("data")
    if name not in known:
        raise ValueError(f"weights: unknown id {name!r}{suggest_names(name, list(known))}")
    return known[name]


def weights_folder(given: Path | None = None) -> Path:
    """Return `given`, or else the weights folder."""
    return given or Path(os.environ.get("ROUTING_WEIGHTS") or "weights")


def locate(name: str, where: Path | None = None, sha256: str | None = None) -> Path:
    """Return the verified file, or folder of files, of an id of the manifest or of a path.

    `sha256` is required in addition to the one in the manifest; a path need not be in the
    manifest. Raises ValueError, with the command that downloads it, if a file is absent or wrong.
    """
    path = Path(name)
    if name not in entries() | entries("data"):
        if not path.is_file():
            known = ", ".join(entries())
            raise ValueError(
                f"weights: wanted a path or one of {known}, got {name!r}, "
                f"which is neither; correct it"
            )
        wanted = File(name, "", None, sha256)
        if problem := find_problem(wanted, path):
            raise ValueError(f"weights: {path}: {problem}; use the right file")
        return path
    found = entry(name)
    for file in found.files:
        path = weights_folder(where) / file.file
        problem = find_problem(file, path)
        if problem is None and sha256 and len(found.files) == 1:
            problem = find_problem(File(file.file, file.address, None, sha256), path)
        if problem:
            raise ValueError(
                f"weights {name!r}: {problem}; file {file.file}, address {file.address}, "
                f"{or_unknown(file.bytes)} bytes, sha256 {or_unknown(file.sha256)}, licence "
                f"{or_unknown(found.licence)}, expected at {path.absolute()}: "
                f"python -m routing.pretrained.manifest fetch {name}"
            )
    return weights_folder(where) / found.name


def find_problem(file: File, path: Path, anew: bool = False) -> str | None:
    """Return why `path` is not `file`; None if it is. `anew` ignores the cached sha256."""
    if not path.is_file():
        return "absent"
    if file.bytes is not None and path.stat().st_size != file.bytes:
        return f"wanted {file.bytes} bytes, got {path.stat().st_size}"
    expected = file.sha256 or accepted_sha256(path)
    if expected and (found := sha256_of(path, anew)) != expected:
        return f"wanted sha256 {expected}, got {found}"
    return None


def accepted_sha256(path: Path) -> str | None:
    """Return the sha256 that --accept stored for a file without one in the manifest."""
    beside = path.with_name(path.name + ".sha256")
    return beside.read_text().split()[0] if beside.is_file() else None


def or_unknown(value: Any) -> str:
    """Return a value of the manifest as text, "unknown" for null."""
    return "unknown" if value is None else str(value)


def sha256_of(path: Path, anew: bool = False) -> str:
    """Return the sha256 of a file, cached by path, size and modification time."""
    status = path.stat()
    key = f"{path.resolve()}\n{status.st_size}\n{status.st_mtime_ns}"
    cached = _cache() / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    try:
        note = json.loads(cached.read_text())
        if note["key"] == key and not anew:
            return note["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # compute it
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=cached.parent, delete=False) as file:
            json.dump({"key": key, "sha256": found}, file)
        os.replace(file.name, cached)
    except OSError:
        pass  # without a cache it is computed again
    return found


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "routing" / "sha256"


def file_state(file: File, path: Path, anew: bool = False) -> str:
    """Return `present`, `absent`, `wrong` or `unverifiable`."""
    problem = find_problem(file, path, anew)
    if problem:
        return "absent" if problem == "absent" else "wrong"
    return "present" if file.sha256 or accepted_sha256(path) else "unverifiable"
