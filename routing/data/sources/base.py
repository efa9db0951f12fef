"""What a source is: `load(root)` for what is ready as it stands, `items(...)` for what is read.

A ready source makes all its samples at once. A streamed one yields encoded images one after the
other: `items(shard, num_shards)` is a part of one fixed order, and the parts of all shards, one
behind the other, are everything exactly once. It holds a few items at a time, however long it is.
What it finds damaged is an item with a problem, not an error: nothing is left out in silence.
"""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

NO_IMAGE = "no image"
NO_FILE = "missing file"
NO_ID = "no source id"
NO_LABEL = "no label"
NO_LICENCE = "no licence"
NO_TEXT = "unreadable text"
CUT_ARCHIVE = "truncated or corrupt archive"
PROBLEMS = (NO_IMAGE, NO_FILE, NO_ID, NO_LABEL, NO_LICENCE, NO_TEXT, CUT_ARCHIVE)


@dataclass(frozen=True)
class Samples:
    """What a ready source yields: stored samples, labels and what must be known about them."""

    stored: np.ndarray  # [samples, channels, height, width] integers or [samples, dim] points
    labels: np.ndarray  # [samples]
    captions: list[str]
    source_ids: list[str]
    levels: int | None  # the largest stored value; None for points
    licence: str
    visibility: str = "public"
    components: np.ndarray | None = None  # [samples], in a world of components


class Item(NamedTuple):
    """One encoded image and what its source says of it, or the problem with it."""

    source_id: str
    image: bytes | None
    label: int | str = -1  # -1: the source has none
    caption: str = ""
    licence: str = ""
    problem: str | None = None  # one of PROBLEMS


@runtime_checkable
class Ready(Protocol):
    """A source that makes all its samples at once."""

    def load(self, root: int) -> Samples:
        """All samples, drawn from the streams of `root`."""


@runtime_checkable
class Streamed(Protocol):
    """A source of encoded images in a fixed order."""

    path: str
    visibility: str

    def items(self, shard: int, num_shards: int) -> Iterator[Item]:
        """The part `shard` of `num_shards`."""


def share(num: int, shard: int, num_shards: int) -> range:
    """The positions of 0..num-1 that belong to `shard`: neighbours, as many as in any other."""
    return range(num * shard // num_shards, num * (shard + 1) // num_shards)


def files(path: str, suffixes: tuple[str, ...], kind: str) -> list[tuple[str, Path]]:
    """(name, path) of a file, of all files under a folder, or of a glob, in order of names.

    Names are relative to the folder, or to the last folder before the first wild card. Under a
    folder, links to files are followed, those to folders are not (a glob follows both).
    """
    here = Path(path)
    if here.is_file():
        return [(here.name, here)]
    if here.is_dir():
        root, found = here, [p for p in here.rglob("*") if p.name.endswith(suffixes)]
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


def need_licence(kind: str, licence: str | None, licence_text: str | None) -> None:
    """Refuse a source whose images would have no licence."""
    if not (licence or licence_text):
        raise ValueError(
            f"{kind}: wanted a licence for every image, got neither `licence` (where the data "
            f"says it) nor `licence_text`; give one"
        )
