"""Parquet files with a column of encoded images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routing.data.sources.base import Item, list_files, require_licence, shard_range
from routing.data.sources.columns import Columns


@dataclass(frozen=True)
class Parquet:
    """Encoded images in Parquet: a file, all `*.parquet` under a folder, or a glob.

    Shards divide the rows of all files. `where` has pairs (column, value); a row is kept if its
    value in every such column is one of those given for it. Other rows are not counted as
    rejected. Ids are the values of the column `source_id`, or "file:row". Files are read
    `batch_rows` rows at a time. Hidden files are ignored.
    """

    path: str
    image: str = "image"
    label: str | None = None
    caption: str | None = None
    source_id: str | None = None
    licence: str | None = None
    licence_text: str | None = None
    where: tuple[tuple[str, str | int], ...] = ()
    batch_rows: int = 64
    visibility: Literal["public", "private"] = "public"

    def __post_init__(self) -> None:
        """Validate the options."""
        require_licence("parquet", self.licence, self.licence_text)
        if self.batch_rows < 1:
            raise ValueError(f"parquet: wanted batch_rows >= 1, got {self.batch_rows}; raise it")

    def items(self, shard: int, num_shards: int) -> Iterator[Item]:
        """Yield the rows of `shard`, in the order of files and rows."""
        named = list_files(self.path, (".parquet",), "parquet")
        counts = [_metadata(path).num_rows for _, path in named]
        if not sum(counts):
            raise ValueError(f"parquet: path {self.path!r} has no rows; correct `path`")
        mine, first = shard_range(sum(counts), shard, num_shards), 0
        for (name, path), num in zip(named, counts, strict=True):
            rows = range(max(mine.start - first, 0), min(mine.stop - first, num))
            first += num
            if len(rows):
                yield from self._rows(name, path, rows)

    def _rows(self, name: str, path: Path, rows: range) -> Iterator[Item]:
        columns = self._columns()
        try:
            with pq.ParquetFile(path, buffer_size=1 << 16, pre_buffer=False) as file:
                columns.check(file.schema_arrow, path.as_posix())
                allowed = self._allowed(columns, file.schema_arrow, path.as_posix())
                names = list(dict.fromkeys([*columns.names, *allowed]))
                for first, batch in _batches(file, rows, names, self.batch_rows):
                    keep = _kept(batch, allowed)
                    ids = [f"{name}:{first + row}" for row in np.flatnonzero(keep)]
                    yield from columns.items(batch.filter(pa.array(keep)), ids)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from None

    def _columns(self) -> Columns:
        names = (self.image, self.label, self.caption, self.source_id, self.licence)
        return Columns("parquet", *names, self.licence_text)

    def _allowed(self, columns: Columns, schema: pa.Schema, where: str) -> dict[str, pa.Array]:
        """Return the values that `where` allows, by column, in the type of the column."""
        allowed = {}
        for name in dict(self.where):
            field = columns.field(schema, "where", name, where)
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            values = [value for column, value in self.where if column == name]
            try:
                allowed[name] = pa.array(values, kind)
            except (pa.ArrowException, TypeError, OverflowError):
                raise ValueError(
                    f"parquet: where: wanted values of type {kind} for the column {name!r} of "
                    f"{where}, got {values}; convert them"
                ) from None
        return allowed


def _batches(
    file: pq.ParquetFile, rows: range, names: list[str], size: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (position of the first row, batch) for `rows`; only their row groups are read."""
    sizes = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    first = int(np.searchsorted(starts, rows.start, "right")) - 1
    last = int(np.searchsorted(starts, rows.stop, "left"))
    at = int(starts[first])
    groups = list(range(first, last))
    for batch in file.iter_batches(size, groups, names, use_threads=False):
        low, high = max(rows.start - at, 0), min(rows.stop - at, len(batch))
        if low < high:
            yield at + low, batch.slice(low, high - low)
        at += len(batch)


def _kept(batch: pa.RecordBatch, allowed: dict[str, pa.Array]) -> np.ndarray:
    keep = np.ones(len(batch), bool)
    for name, values in allowed.items():
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        keep &= pc.is_in(column, values).to_numpy(zero_copy_only=False)
    return keep


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ValueError:
    detail = " ".join(str(error).split())[:160]
    return ValueError(f"parquet: {path} cannot be read ({detail}); repair the file or remove it")
