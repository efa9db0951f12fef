"""Artifacts: Parquet tables and safetensors, atomic, sealed, each with its provenance inside.

A file carries two things in its own metadata (Parquet key-value pairs, the safetensors header):

- `provenance`: JSON with stage, spec, the sha256 of every input, the digest of every source file
  the stage could see, git commit, package versions, device, seconds, licence, and `content`, a
  digest of the data alone (equal for equal data, whenever and wherever it was made);
- `seal`: the sha256 of the whole file with the seal's own 64 digits blanked, so that a file that
  was cut short or altered by one bit is known from the file alone.

Files are written beside their place and renamed when complete: no half files, ever. Pictures and
text tables have no room for this; the Parquet behind each holds their sha256 (`siblings`).
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

MARK = b"routing-seal:"
BLANK = b"0" * 64
CHUNK = 1 << 22


@dataclass(frozen=True)
class Checked:
    """What reading a whole file once tells: its sha256 and whether its seal holds."""

    sha256: str
    problem: str | None


class Named(dict):
    """What a file has by name; a name that it lacks is a ValueError of one line."""

    def __init__(self, found: dict[str, Any], path: Path, what: str):
        """`what` the names are of."""
        super().__init__(found)
        self.path, self.what = path, what

    def __missing__(self, name: str) -> Any:
        """Refuse."""
        raise damaged(self.path, f"it has no {self.what} {name!r}")


def table_bytes(frame: pd.DataFrame, provenance: dict) -> bytes:
    """`frame` as a Parquet file with provenance and an open seal."""
    table = pa.Table.from_pandas(frame, preserve_index=False).combine_chunks()
    note = json.dumps(provenance | {"content": table_digest(frame)})
    metadata = (table.schema.metadata or {}) | {b"provenance": note, b"seal": MARK + BLANK}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def arrays_bytes(arrays: dict[str, np.ndarray], provenance: dict) -> bytes:
    """`arrays` as a safetensors file with provenance and an open seal."""
    arrays = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    note = json.dumps(provenance | {"content": arrays_digest(arrays)})
    return save_safetensors(arrays, {"provenance": note, "seal": (MARK + BLANK).decode()})


def sealed(data: bytes) -> bytes:
    """`data` with its open seal closed."""
    first = _seal(data)
    assert data[first : first + 64] == BLANK, "an artifact is written with an open seal"
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:first] + digest + data[first + 64 :]


def check(path: Path) -> Checked:
    """Read `path` once: sha256, and what is wrong with its seal (None: nothing)."""
    if path.stat().st_size == 0:
        return Checked(hashlib.sha256().hexdigest(), "the file is empty")
    whole, blanked, start = hashlib.sha256(), hashlib.sha256(), 0
    with open(path, "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            first = _seal(data)
            recorded = data[first : first + 64].decode("ascii", "replace") if first >= 0 else None
        while read := file.read(CHUNK):  # pages of a map would count as memory of this process
            whole.update(read)
            piece = bytearray(read)
            for i in range(max(first, start), min(first + 64, start + len(piece))):
                piece[i - start] = ord("0")
            blanked.update(piece)
            start += len(piece)
    if recorded is None:
        problem = "it has no seal: it was cut short, or not made by this workflow"
    elif recorded != blanked.hexdigest():
        problem = (
            f"sealed as {recorded[:12]}, found {blanked.hexdigest()[:12]}: cut short or altered"
        )
    else:
        problem = None
    return Checked(whole.hexdigest(), problem)


def _seal(data: bytes | mmap.mmap) -> int:
    """Where the 64 digits of the seal begin; -1 if there is none."""
    # Data may hold the mark too: in Parquet it comes before the seal, in safetensors behind it,
    # and text in front of it has its quotes escaped.
    is_parquet = data[:4] == b"PAR1"
    mark = MARK if is_parquet else b'"seal":"' + MARK
    at = data.rfind(mark) if is_parquet else data.find(mark)
    return at + len(mark) if at >= 0 else -1


def read_table(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """The table in `path`, or some columns; a damaged file is a ValueError of one line."""
    try:
        return pq.read_table(path, columns=columns, partitioning=None).to_pandas()
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in `path`; a damaged file is a ValueError of one line."""
    try:
        return Named(load_safetensors(path.read_bytes()), path, "array")
    except (SafetensorError, ValueError) as error:
        raise damaged(path, str(error)) from None


def map_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in `path`, memory-mapped and read only; damaged: a ValueError of one line."""
    try:
        header, start = _header(path)
        found = {n: _mapped(path, start, a) for n, a in header.items() if n != "__metadata__"}
        return Named(found, path, "array")
    except (OSError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise damaged(path, str(error)) from None


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance in the metadata of `path` (no data is read)."""
    try:
        if path.suffix == ".parquet":
            note = (pq.read_metadata(path).metadata or {})[b"provenance"]
        else:
            note = _header(path)[0]["__metadata__"]["provenance"]
        return json.loads(note, object_hook=lambda found: Named(found, path, "note"))
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, MemoryError):
        raise damaged(path, "it has no readable provenance") from None


def damaged(path: Path, detail: str) -> ValueError:
    """The one line about an artifact that cannot be trusted."""
    detail = " ".join(detail.split())
    return ValueError(
        f"artifact {path} is damaged ({detail[:160]}); delete it and run the same command again: "
        f"it will be remade"
    )


def table_digest(frame: pd.DataFrame) -> str:
    """sha256 over the columns' names, types and values."""
    table = pa.Table.from_pandas(frame, preserve_index=False).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
        writer.write_table(table.replace_schema_metadata(None))
    return hashlib.sha256(sink.getvalue()).hexdigest()


def arrays_digest(arrays: dict[str, np.ndarray]) -> str:
    """sha256 over the arrays' names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        a = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {a.dtype.str} {a.shape}\n".encode())
        digest.update(a.tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` whole or not at all; on any error the old file stands."""
    temporary = stage(path, lambda file: file.write(data))
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def stage(path: Path, write: Callable[[BinaryIO], object]) -> Path:
    """A file beside `path` that `write` fills, flushed to disk; returns the temporary's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk does not say which file
        raise
    return temporary


def seal_in_place(file: BinaryIO) -> None:
    """Close the open seal of a file that is written to its end."""
    file.flush()
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        first = _seal(data)
        assert data[first : first + 64] == BLANK, "an artifact is written with an open seal"
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(CHUNK):  # pages of a map would count as memory of this process
        digest.update(piece)
    file.seek(first)
    file.write(digest.hexdigest().encode())


DTYPES = {  # NumPy's word for a type, and that of safetensors
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
    """The header of a safetensors file, and where its arrays begin."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size)), 8 + size


def _mapped(path: Path, start: int, array: dict[str, Any]) -> np.ndarray:
    dtype = next(own for own, word in DTYPES.items() if word == array["dtype"])
    shape, (first, end) = tuple(array["shape"]), array["data_offsets"]
    if first == end:  # nothing can be mapped
        return np.empty(shape, dtype)
    return np.asarray(np.memmap(path, dtype, "r", start + first, shape))
