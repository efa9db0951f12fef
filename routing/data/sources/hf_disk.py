"""A Hugging Face dataset on disk, as `save_to_disk` writes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from routing.data.sources.base import Item, require_licence, shard_range
from routing.data.sources.columns import Columns
from routing.workflow import choices


@dataclass(frozen=True)
class HfDisk:
    """A `Dataset`, or the `split` of a `DatasetDict`, saved as Arrow files in a folder.

    Images are read as they were encoded. A class label becomes the name of its class; -1 means no
    label. Shards divide the rows. Ids are the values of the column `source_id`, or "split:row".
    Files are memory-mapped and read `batch_rows` rows at a time.
    """

    path: str
    split: str | None = None
    image: str = "image"
    label: str | None = None
    caption: str | None = None
    source_id: str | None = None
    licence: str | None = None
    licence_text: str | None = None
    batch_rows: int = 64
    visibility: Literal["public", "private"] = "public"

    def __post_init__(self) -> None:
        """Validate the options."""
        require_licence("hf_disk", self.licence, self.licence_text)
        if self.batch_rows < 1:
            raise ValueError(f"hf_disk: wanted batch_rows >= 1, got {self.batch_rows}; raise it")

    def items(self, shard: int, num_shards: int) -> Iterator[Item]:
        """Yield the rows of `shard`, in order."""
        dataset, columns = self._dataset(), self._columns()
        classes = {n: f.names for n, f in dataset.features.items() if hasattr(f, "int2str")}
        stored = dataset.features.arrow_schema
        meant = [f.with_type(pa.string()) if f.name in classes else f for f in stored]
        columns.check(pa.schema(meant), self.path)

        def named(column: str, value: Any) -> Any:
            if column not in classes or value is None:
                return value
            return classes[column][value] if value >= 0 else None

        arrow = dataset.select_columns(columns.names).with_format("arrow")
        mine, split = shard_range(len(dataset), shard, num_shards), self.split or "row"
        for first in range(mine.start, mine.stop, self.batch_rows):
            table = arrow[first : min(first + self.batch_rows, mine.stop)]
            at = first
            for batch in table.to_batches():
                ids = [f"{split}:{row}" for row in range(at, at + len(batch))]
                at += len(batch)
                yield from columns.items(batch, ids, named)

    def _dataset(self) -> Any:
        from datasets import DatasetDict, load_from_disk

        if not Path(self.path).is_dir():
            raise ValueError(f"hf_disk: path {self.path!r} is not a folder; correct `path`")
        try:
            found = load_from_disk(self.path)
        except FileNotFoundError:
            raise ValueError(
                f"hf_disk: wanted a folder written by save_to_disk, got {self.path!r}, which has "
                f"other files; correct `path`"
            ) from None
        if isinstance(found, DatasetDict):
            if self.split not in found:
                raise ValueError(
                    f"hf_disk: split: path {self.path!r} has no split {self.split!r}"
                    + choices.suggest_names(self.split, list(found))
                )
            found = found[self.split]
        elif self.split is not None:
            raise ValueError(
                f"hf_disk: split: path {self.path!r} is one dataset without splits, got "
                f"{self.split!r}; remove it"
            )
        if not len(found):
            raise ValueError(f"hf_disk: path {self.path!r} has no rows; correct `path`")
        return found

    def _columns(self) -> Columns:
        names = (self.image, self.label, self.caption, self.source_id, self.licence)
        return Columns("hf_disk", *names, self.licence_text)
