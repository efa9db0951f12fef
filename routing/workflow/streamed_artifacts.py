"""Artifacts that are larger than memory, written block by block.

    write_array_blocks   blocks {name: [rows, ...]}, concatenated, as a safetensors file
    write_table_blocks   frames, a row group each, as a Parquet file

Both write a temporary file with its provenance and checksum (`routing.workflow.artifacts`) and
return its path. The provenance is a callable. It is called after the last block, so that it can
describe what was written.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from routing.workflow import artifacts, temporary_files
from routing.workflow.artifacts import BLANK, CHUNK, DTYPES, MARK

Provenance = Callable[[], dict]


def write_array_blocks(
    path: Path, blocks: Iterable[dict[str, np.ndarray]], provenance: Provenance
) -> Path:
    """Write blocks {name: [rows, ...]} to a temporary safetensors file for `path`.

    The blocks are concatenated; one is in memory at a time. Returns the path of the temporary
    file. Raises ValueError if blocks differ in names, types or the shape of a row.
    """
    with _ArrayFiles(path) as files:
        for block in blocks:
            files.append(block)
        note = json.dumps(provenance() | {"content": files.digest()})
        header = files.header({"provenance": note, "checksum": (MARK + BLANK).decode()})

        def write(file: BinaryIO) -> None:
            file.write(header)
            for piece in files.pieces():
                file.write(piece)
            artifacts.write_checksum(file)

        return artifacts.write_temporary(path, write)


def write_table_blocks(path: Path, frames: Iterable[pd.DataFrame], provenance: Provenance) -> Path:
    """Write one or more frames, a row group each, to a temporary Parquet file for `path`.

    Returns the path of the temporary file.
    """

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
        writer.add_key_value_metadata({"provenance": note, "checksum": (MARK + BLANK).decode()})
        writer.close()
        artifacts.write_checksum(file)

    return artifacts.write_temporary(path, write)


class FramesDigest:
    """The sha256 of a table that is given in frames; it does not depend on their lengths."""

    def __init__(self):
        self.columns: dict[str, Any] = {}

    def update(self, frame: pd.DataFrame) -> None:
        """Add a frame."""
        for name in frame:
            column = self.columns.setdefault(name, hashlib.sha256(str(name).encode()))
            column.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy())

    def hexdigest(self) -> str:
        """Return the digest of all frames so far."""
        return hashlib.sha256(b"".join(c.digest() for c in self.columns.values())).hexdigest()


class _ArrayFiles:
    """Arrays that grow block by block, each in a temporary file of its own."""

    def __init__(self, path: Path):
        self.path = path
        self.like: dict[str, np.ndarray] = {}  # empty arrays with the type and shape of a row
        self.num: dict[str, int] = {}
        self.files: dict[str, BinaryIO] = {}

    def __enter__(self) -> "_ArrayFiles":
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
                temporary = temporary_files.temporary_path(self.path, name)
                self.files[name] = open(temporary, "w+b")
        if block.keys() != self.like.keys():
            raise ValueError(
                f"{self.path}: wanted blocks of {sorted(self.like)}, got {sorted(block)}; give "
                f"every block the same arrays"
            )
        for name, a in block.items():
            like = self.like[name]
            if a.dtype != like.dtype or a.shape[1:] != like.shape[1:]:
                raise ValueError(
                    f"{self.path}: wanted rows of {name!r} like the first, {like.dtype} "
                    f"{like.shape[1:]}, got {a.dtype} {a.shape[1:]}; make them equal"
                )
            self.files[name].write(np.ascontiguousarray(a).data)
            self.num[name] += len(a)

    def digest(self) -> str:
        """Return what `arrays_digest` returns for the whole arrays."""
        digest = hashlib.sha256()
        for name in sorted(self.like):
            digest.update(f"{name} {self.like[name].dtype.str} {self._shape(name)}\n".encode())
            for piece in self._read(name):
                digest.update(piece)
        return digest.hexdigest()

    def header(self, metadata: dict[str, str]) -> bytes:
        """Return the safetensors header of the arrays in the order of `pieces`."""
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
        """Yield the bytes of all arrays."""
        for name in self._order():
            yield from self._read(name)

    def _order(self) -> list[str]:
        """Return the names, wide types first, so that all arrays are aligned."""
        return sorted(self.like, key=lambda name: (-self.like[name].dtype.itemsize, name))

    def _shape(self, name: str) -> tuple[int, ...]:
        return (self.num[name], *self.like[name].shape[1:])

    def _read(self, name: str) -> Iterator[bytes]:
        file = self.files[name]
        file.seek(0)
        while piece := file.read(CHUNK):
            yield piece
