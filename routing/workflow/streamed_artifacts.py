"""Artifacts that are larger than memory, written as their parts come.

    stage_rows      blocks {name: [n, ...]}: the arrays one after the other, as safetensors
    stage_frames    frames, a row group each, as Parquet

Both leave a sealed file with its provenance beside its place (`routing.workflow.artifacts`). The
provenance is
asked for when all parts are written, so that it may say what they were.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from routing.workflow import artifacts
from routing.workflow.artifacts import BLANK, CHUNK, DTYPES, MARK

Provenance = Callable[[], dict]


def stage_rows(
    path: Path, blocks: Iterable[dict[str, np.ndarray]], provenance: Provenance
) -> Path:
    """Blocks {name: [n, ...]} as one sealed safetensors file beside `path`, read as they come.

    The arrays are the blocks' one after the other; no more than a block is ever in memory.
    Raises ValueError if blocks disagree on names, types or the shape of a row.
    """
    with _Spools(path) as spools:
        for block in blocks:
            spools.append(block)
        note = json.dumps(provenance() | {"content": spools.digest()})
        header = spools.header({"provenance": note, "seal": (MARK + BLANK).decode()})

        def write(file: BinaryIO) -> None:
            file.write(header)
            for piece in spools.pieces():
                file.write(piece)
            artifacts.seal_in_place(file)

        return artifacts.stage(path, write)


def stage_frames(path: Path, frames: Iterable[pd.DataFrame], provenance: Provenance) -> Path:
    """One or more frames as one sealed Parquet file beside `path`, a row group each."""

    def write(file: BinaryIO) -> None:
        writer, digest, schema = None, FramesDigest(), None
        for frame in frames:
            table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
            if writer is None:
                schema = table.schema
                writer = pq.ParquetWriter(file, schema, compression="zstd")
            writer.write_table(table.combine_chunks())
            digest.update(frame)
        assert writer is not None, f"{path}: no frame was given"
        note = json.dumps(provenance() | {"content": digest.hexdigest()})
        writer.add_key_value_metadata({"provenance": note, "seal": (MARK + BLANK).decode()})
        writer.close()
        artifacts.seal_in_place(file)

    return artifacts.stage(path, write)


class FramesDigest:
    """sha256 over the columns of a table that comes in frames, however it is cut."""

    def __init__(self):
        """Nothing seen yet."""
        self.columns: dict[str, Any] = {}

    def update(self, frame: pd.DataFrame) -> None:
        """See one frame more."""
        for name in frame:
            column = self.columns.setdefault(name, hashlib.sha256(str(name).encode()))
            column.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy())

    def hexdigest(self) -> str:
        """The digest of all that was seen."""
        return hashlib.sha256(b"".join(c.digest() for c in self.columns.values())).hexdigest()


class _Spools:
    """Arrays that grow block by block, each in a file of its own until all are known."""

    def __init__(self, path: Path):
        self.path = path
        self.like: dict[str, np.ndarray] = {}  # no rows: type and shape of a row
        self.num: dict[str, int] = {}
        self.files: dict[str, BinaryIO] = {}

    def __enter__(self) -> "_Spools":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *what: object) -> None:
        for file in self.files.values():
            file.close()
            Path(file.name).unlink(missing_ok=True)

    def append(self, block: dict[str, np.ndarray]) -> None:
        if not self.like:
            for name, a in block.items():
                self.like[name], self.num[name] = a[:0], 0
                spool = self.path.with_name(f".{self.path.name}.{name}.{os.getpid()}.tmp")
                self.files[name] = open(spool, "w+b")
        if block.keys() != self.like.keys():
            raise ValueError(
                f"{self.path}: wanted blocks of {sorted(self.like)}, got {sorted(block)}; give "
                f"every block the same arrays"
            )
        for name, a in block.items():
            like = self.like[name]
            if a.dtype != like.dtype or a.shape[1:] != like.shape[1:]:
                raise ValueError(
                    f"{self.path}: wanted rows of {name!r} as the first, {like.dtype} "
                    f"{like.shape[1:]}, got {a.dtype} {a.shape[1:]}; make them alike"
                )
            self.files[name].write(np.ascontiguousarray(a).data)
            self.num[name] += len(a)

    def digest(self) -> str:
        """As `arrays_digest` of the whole arrays."""
        digest = hashlib.sha256()
        for name in sorted(self.like):
            digest.update(f"{name} {self.like[name].dtype.str} {self._shape(name)}\n".encode())
            for piece in self._read(name):
                digest.update(piece)
        return digest.hexdigest()

    def header(self, metadata: dict[str, str]) -> bytes:
        """The safetensors header of the arrays in the order of `pieces`."""
        found: dict[str, Any] = {"__metadata__": metadata}
        end = 0
        for name in self._order():
            first, end = end, end + math.prod(self._shape(name)) * self.like[name].itemsize
            found[name] = {
                "dtype": DTYPES[self.like[name].dtype.str],
                "shape": list(self._shape(name)),
                "data_offsets": [first, end],
            }
        text = json.dumps(found, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def pieces(self) -> Iterator[bytes]:
        """The bytes of all arrays."""
        for name in self._order():
            yield from self._read(name)

    def _order(self) -> list[str]:
        """Wide types first, so that all are aligned."""
        return sorted(self.like, key=lambda name: (-self.like[name].dtype.itemsize, name))

    def _shape(self, name: str) -> tuple[int, ...]:
        return (self.num[name], *self.like[name].shape[1:])

    def _read(self, name: str) -> Iterator[bytes]:
        file = self.files[name]
        file.seek(0)
        while piece := file.read(CHUNK):
            yield piece
