"""The two kinds of sources, and what they yield.

An in-memory source returns all its samples at once (`load`). A streamed source yields encoded
images in a fixed order, of which `items(shard, num_shards)` is one part; the parts of all shards,
concatenated, have every image exactly once. It holds a few items in memory. A damaged image is an
item with a problem, not an error, so that every image is accounted for.
"""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

NO_IMAGE = "no image"
NO_FILE = "missing file"
NO_ID = "no source id"
NO_LABEL = "no label"
NO_LICENCE = "no licence"
NO_TEXT = "unreadable text"
CUT_ARCHIVE = "truncated or corrupt archive"
BYTE_ORDER_MARK = "\ufeff"  # Windows programs write it in front of a text
PROBLEMS = (NO_IMAGE, NO_FILE, NO_ID, NO_LABEL, NO_LICENCE, NO_TEXT, CUT_ARCHIVE)


@dataclass(frozen=True)
class Samples:
    """What an in-memory source returns: stored samples with their labels and licence."""

    stored: np.ndarray  # [samples, channels, height, width] integers or [samples, dim] points
    labels: np.ndarray  # [samples]
    captions: list[str]
    source_ids: list[str]
    levels: int | None  # the largest stored value; None for points
    licence: str
    visibility: str = "public"
    components: np.ndarray | None = None  # [samples]: mixture components, in an exact world


class Item(NamedTuple):
    """One encoded image with its metadata, or the problem with it."""

    source_id: str
    image: bytes | None
    label: int | str = -1  # -1: the source has none
    caption: str = ""
    licence: str = ""
    problem: str | None = None  # one of PROBLEMS


@runtime_checkable
class InMemorySource(Protocol):
    """A source that returns all its samples at once, stored as they are."""

    def load(self, root: int) -> Samples:
        """Return all samples; random ones are drawn from the streams of the seed `root`."""


@runtime_checkable
class StreamedSource(Protocol):
    """A source of encoded images in a fixed order."""

    path: str
    visibility: str

    def items(self, shard: int, num_shards: int) -> Iterator[Item]:
        """Yield the items of part `shard` of `num_shards`."""


def shard_range(num: int, shard: int, num_shards: int) -> range:
    """Return the positions among 0..num-1 in `shard`: neighbours, in parts of equal size."""
    return range(num * shard // num_shards, num * (shard + 1) // num_shards)


def without_mark(text: str) -> str:
    """Return `text` without a byte order mark, which would make two texts of one."""
    return text.removeprefix(BYTE_ORDER_MARK)


def decode_text(data: bytes) -> str:
    """Return UTF-8 as text, without a byte order mark, or white space at both ends.

    Raises UnicodeDecodeError.
    """
    return without_mark(data.decode()).strip()


def is_hidden(name: str) -> bool:
    """Return whether a part of the relative path `name` begins with a dot.

    Such files are copies that other programs keep (.ipynb_checkpoints/) or hold metadata
    (._00001.png, from macOS). No source reads them. The parts "." and ".." are not names.
    """
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") and part not in (".", "..") for part in parts)


def list_files(path: str, suffixes: tuple[str, ...], kind: str) -> list[tuple[str, Path]]:
    """Return (name, path) of a file, of all files under a folder, or of a glob, sorted by name.

    Names are relative to the folder, or to the last folder before the first wildcard. Under a
    folder, hidden files are ignored, links to files are followed, and links to folders are not. A
    glob follows both. Its wildcards match no hidden names; a glob must write their dot.
    """
    here = Path(path)
    if here.is_file():
        return [(here.name, here)]
    if here.is_dir():
        root, found = here, [p for p in here.rglob("*") if p.name.endswith(suffixes)]
        found = [p for p in found if not is_hidden(p.relative_to(root).as_posix())]
    else:
        wild = next((i for i, part in enumerate(here.parts) if glob.has_magic(part)), None)
        if wild is None:
            raise ValueError(f"{kind}: path {path!r} does not exist; correct `path`")
        root, found = Path(*here.parts[:wild]), [Path(p) for p in glob.glob(path, recursive=True)]
    named = sorted((p.relative_to(root).as_posix(), p) for p in found if p.is_file())
    if not named:
        raise ValueError(
            f"{kind}: wanted files under path {path!r} that end in {' or '.join(suffixes)}, got "
            f"none; correct `path`"
        )
    return named


def require_licence(kind: str, licence: str | None, licence_text: str | None) -> None:
    """Raise ValueError if the images of a source would have no licence."""
    if not (licence or licence_text):
        raise ValueError(
            f"{kind}: wanted a licence for every image, got neither `licence` (the name of "
            f"the field with it) nor `licence_text`; give one"
        )
