"""Artifacts: Parquet tables and safetensors arrays, each with its provenance and a checksum.

The metadata of a file (Parquet key-value pairs, the safetensors header) has two entries:

    provenance   JSON: the stage, its spec, the sha256 of every input, the digest of every source
                 file that the stage depends on, git commit, package versions, device, seconds,
                 licence, and `content`, a digest of the data alone
    checksum     the sha256 of the whole file, computed with the 64 digits of the checksum set to
                 zeros, so that a truncated or altered file is recognised without any other file

Files are written under a temporary name in the same folder and renamed when they are complete.
A killed process leaves such files; the next one that writes the same output removes them.
Pictures and text tables have no metadata; the Parquet file behind each holds their sha256
(`siblings`).
"""

import hashlib
import json
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from routing.workflow import temporary_files

MARK = b"routing-checksum:"
BLANK = b"0" * 64  # the digits before the checksum is computed
CHUNK = 1 << 22  # bytes


@dataclass(frozen=True)
class Checked:
    """The sha256 of a file, and what is wrong with it; None if its checksum is correct."""

    sha256: str
    problem: str | None


class _Contents(dict):
    """The arrays or the metadata of a file by name. A missing name is a ValueError."""

    def __init__(self, found: dict[str, Any], path: Path, what: str):
        super().__init__(found)
        self.path, self.what = path, what

    def __missing__(self, name: str) -> Any:
        raise damaged(self.path, f"it has no {self.what} {name!r}")


def table_bytes(frame: pd.DataFrame, provenance: dict) -> bytes:
    """Return `frame` as a Parquet file with its provenance and a blank checksum."""
    table = pa.Table.from_pandas(frame, preserve_index=False).combine_chunks()
    note = json.dumps(provenance | {"content": table_digest(frame)})
    metadata = (table.schema.metadata or {}) | {b"provenance": note, b"checksum": MARK + BLANK}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def arrays_bytes(arrays: dict[str, np.ndarray], provenance: dict) -> bytes:
    """Return `arrays` as a safetensors file with its provenance and a blank checksum."""
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    note = json.dumps(provenance | {"content": arrays_digest(arrays)})
    return save_safetensors(arrays, {"provenance": note, "checksum": (MARK + BLANK).decode()})


def with_checksum(data: bytes) -> bytes:
    """Return the file `data` with its checksum in place of the blank one."""
    first = _checksum_start(data)
    assert data[first : first + 64] == BLANK, "a new artifact has a blank checksum"
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:first] + digest + data[first + 64 :]


def check(path: Path) -> Checked:
    """Read `path` once, and return its sha256 and what is wrong with its checksum."""
    if path.stat().st_size == 0:
        return Checked(hashlib.sha256().hexdigest(), "the file is empty")
    whole, blanked, start = hashlib.sha256(), hashlib.sha256(), 0
    with open(path, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            first = _checksum_start(data)
            recorded = data[first : first + 64].decode("ascii", "replace") if first >= 0 else None
        while read := file.read(CHUNK):  # pages of a map would count as memory of this process
            whole.update(read)
            piece = bytearray(read)
            for i in range(max(first, start), min(first + 64, start + len(piece))):
                piece[i - start] = ord("0")
            blanked.update(piece)
            start += len(piece)
    if recorded is None:
        problem = "it has no checksum: it was truncated, or not made by this workflow"
    elif recorded != blanked.hexdigest():
        problem = (
            f"its checksum is {recorded[:12]}, its content has {blanked.hexdigest()[:12]}: it was "
            f"truncated or altered"
        )
    else:
        problem = None
    return Checked(whole.hexdigest(), problem)


def _checksum_start(data: bytes | mmap.mmap) -> int:
    """Return the position of the 64 digits of the checksum; -1 if there is none."""
    # Data may contain the mark too. In Parquet they are before the checksum, in safetensors
    # behind it; a text in front of it has its quotes escaped.
    is_parquet = data[:4] == b"PAR1"
    mark = MARK if is_parquet else b'"checksum":"' + MARK
    at = data.rfind(mark) if is_parquet else data.find(mark)
    return at + len(mark) if at >= 0 else -1


def read_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the table in `path`, or these columns. Raises ValueError on a damaged file."""
    try:
        return pq.read_table(path, columns=columns, partitioning=None).to_pandas()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays in `path`. Raises ValueError on a damaged file."""
    try:
        return _Contents(load_safetensors(path.read_bytes()), path, "array")
    except (SafetensorError, ValueError) as error:
        raise damaged(path, str(error)) from None


def map_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays in `path`, memory-mapped and read only.

    Raises ValueError on a damaged file.
    """
    try:
        header, start = _header(path)
        found = {n: _mapped(path, start, a) for n, a in header.items() if n != "__metadata__"}
        return _Contents(found, path, "array")
    except (OSError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise damaged(path, str(error)) from None


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance in the metadata of `path`, without reading the data."""
    try:
        if path.suffix == ".parquet":
            note = (pq.read_metadata(path).metadata or {})[b"provenance"]
        else:
            note = _header(path)[0]["__metadata__"]["provenance"]
        return json.loads(note, object_hook=lambda found: _Contents(found, path, "metadata"))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, MemoryError):
        raise damaged(path, "it has no readable provenance") from None


def damaged(path: Path, detail: str) -> ValueError:
    """Return the error for a damaged artifact."""
    detail = " ".join(detail.split())
    return ValueError(
        f"artifact {path} is damaged ({detail[:160]}); delete it and run the same command again: "
        f"it will be made again"
    )


def table_digest(frame: pd.DataFrame) -> str:
    """Return the sha256 of the names, types and values of the columns."""
    table = pa.Table.from_pandas(frame, preserve_index=False).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None))
    return hashlib.sha256(sink.getvalue()).hexdigest()


def arrays_digest(arrays: dict[str, np.ndarray]) -> str:
    """Return the sha256 of the names, types, shapes and values of the arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {a.dtype.str} {a.shape}\n".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write the whole file `path`; on any error the old file is left unchanged."""
    temporary = write_temporary(path, lambda file: file.write(data))
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_temporary(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a temporary file in the folder of `path`, flush it, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary_files.remove_abandoned_of(path)
    temporary = temporary_files.temporary_path(path)
    try:
        with open(temporary, "w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # errors of a full disk have no name
        raise
    return temporary


def write_checksum(file: BinaryIO) -> None:
    """Replace the blank checksum of a complete file."""
    file.flush()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = _checksum_start(data)
        assert data[first : first + 64] == BLANK, "a new artifact has a blank checksum"
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(CHUNK):  # pages of a map would count as memory of this process
        digest.update(piece)
    file.seek(first)
    file.write(digest.hexdigest().encode())


DTYPES = {  # the name of a type in NumPy, and in safetensors
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<i2": "I16",
    "<i4": "I32",
    "<i8": "I64",
    "<f2": "F16",
    "<f4": "F32",
    "<f8": "F64",
}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and the position of its first array."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size)), 8 + size


def _mapped(path: Path, start: int, array: dict[str, Any]) -> np.ndarray:
    dtype = next(own for own, word in DTYPES.items() if word == array["dtype"])
    shape, (first, end) = tuple(array["shape"]), array["data_offsets"]
    if first == end:  # an empty array cannot be mapped
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", start + first, shape))
