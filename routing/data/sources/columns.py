"""Items from the columns of a table; options name the columns.

An image column has encoded bytes, or the structure {bytes, path} that Hugging Face writes, of
which the bytes are read. Labels are integers or text. A dictionary column is read as its values.
A row with a null image, label, id or licence becomes an item with a problem; a null caption
becomes an empty one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from routing.data.sources.base import (
    NO_ID,
    NO_IMAGE,
    NO_LABEL,
    NO_LICENCE,
    Item,
    without_mark,
)
from routing.workflow import choices


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a table; `kind` is the source, named in errors."""

    kind: str
    image: str
    label: str | None
    caption: str | None
    source_id: str | None
    licence: str | None
    licence_text: str | None

    @property
    def names(self) -> list[str]:
        """The columns that are read, without duplicates."""
        named = (self.image, self.label, self.caption, self.source_id, self.licence)
        return list(dict.fromkeys(name for name in named if name))

    def check(self, schema: pa.Schema, where: str) -> None:
        """Raise ValueError unless `schema` of the file `where` has these columns and types."""
        wanted = {
            "image": (_is_image, "encoded bytes"),
            "label": (_is_label, "integers or text"),
            "caption": (_is_text, "text"),
            "source_id": (_is_label, "text or integers"),
            "licence": (_is_text, "text"),
        }
        for option, (fits, what) in wanted.items():
            name = getattr(self, option)
            if name is None:
                continue
            kind = self.field(schema, option, name, where).type
            if not fits(kind):
                raise ValueError(
                    f"{self.kind}: {option}: wanted a column of {what}, got {name!r} of type "
                    f"{kind} in {where}; name another"
                )

    def field(self, schema: pa.Schema, option: str, name: str, where: str) -> pa.Field:
        """Return the column `name`, the value of `option`."""
        if name not in schema.names:
            raise ValueError(
                f"{self.kind}: {option}: {where} has no column {name!r}"
                + choices.suggest_names(name, schema.names)
            )
        return schema.field(name)

    def items(
        self,
        batch: pa.RecordBatch,
        positions: Sequence[str],
        names: Callable[[str, object], object] = lambda column, value: value,
    ) -> Iterator[Item]:
        """Yield an item per row; `positions` are the ids if the table has no id column.

        `names(column, value)` converts a stored value, such as a class number to its name.
        """
        image = batch.column(self.image)
        if pa.types.is_struct(image.type):
            image = pc.struct_field(image, "bytes")
        rest = {name: batch.column(name).to_pylist() for name in self.names if name != self.image}
        for row in range(len(batch)):

            def read(column: str | None, row: int = row) -> object:
                value = None if column is None else names(column, rest[column][row])
                return without_mark(value) if isinstance(value, str) else value

            yield self._item(image[row].as_py(), read, positions[row])

    def _item(self, image: bytes | None, read: Callable, position: str) -> Item:
        own, label, licence = read(self.source_id), read(self.label), read(self.licence)
        licence = licence or self.licence_text
        problems = {
            NO_IMAGE: image is None,
            NO_ID: self.source_id is not None and own is None,
            NO_LABEL: self.label is not None and label is None,
            NO_LICENCE: not licence,
        }
        return Item(
            source_id=position if own is None else str(own),
            image=image,
            label=-1 if label is None else label,
            caption=str(read(self.caption) or ""),
            licence=licence or "",
            problem=next((problem for problem, is_so in problems.items() if is_so), None),
        )


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    kind = _plain(kind)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_label(kind: pa.DataType) -> bool:
    return _is_text(kind) or pa.types.is_integer(_plain(kind))
