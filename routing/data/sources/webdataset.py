"""WebDataset: tar files in which neighbours with one name up to the first dot are one sample."""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from routing.data.sources.base import (
    CUT_ARCHIVE,
    NO_IMAGE,
    NO_LABEL,
    NO_LICENCE,
    NO_TEXT,
    Item,
    files,
    need_licence,
    share,
)

Fields = dict[str, bytes]  # what a sample holds, by extension


@dataclass(frozen=True)
class WebDataset:
    """Tar files (plain, .gz, .bz2 or .xz): one, all under a folder, or a glob.

    Shards divide the files. A sample is its neighbouring members whose path is the same up to
    the first dot of the name; the rest, in small letters, is the extension. `image` names the
    extensions that hold the image, the first present one counts; `label`, `caption` and
    `licence` name an extension or, as "json.field", a field of a JSON member. A label of digits
    is a number. The id is "tar/path", or what `source_id` names. A file that ends early, or
    without the mark of its end, is rejected under its own name, with the sample in which it
    breaks; what came before stays.
    """

    path: str
    image: tuple[str, ...] = ("jpg", "jpeg", "png", "webp")
    label: str | None = None
    caption: str | None = None
    source_id: str | None = None
    licence: str | None = None
    licence_text: str | None = None
    visibility: Literal["public", "private"] = "public"

    def __post_init__(self) -> None:
        """Refuse images without a licence."""
        need_licence("webdataset", self.licence, self.licence_text)

    def items(self, shard: int, num_shards: int) -> Iterator[Item]:
        """The samples of the files of `shard`, as they come."""
        suffixes = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
        named = files(self.path, suffixes, "webdataset")
        if num_shards > len(named):
            raise ValueError(
                f"webdataset: wanted at most a shard per tar file, got {num_shards} shards of "
                f"{len(named)} files; ask for fewer shards"
            )
        for number in share(len(named), shard, num_shards):
            name, path = named[number]
            for key, fields in _samples(path, self._wanted()):
                if key is None:
                    yield Item(name, None, problem=CUT_ARCHIVE)
                elif fields is None:
                    yield Item(f"{name}/{key}", None, problem=CUT_ARCHIVE)
                else:
                    yield self._item(f"{name}/{key}", fields)

    def _wanted(self) -> set[str]:
        named = (self.label, self.caption, self.source_id, self.licence)
        return {*self.image, *(_member(name) for name in named if name)}

    def _item(self, name: str, fields: Fields) -> Item:
        item = Item(name, next((fields[key] for key in self.image if key in fields), None))
        try:
            label = _said(fields, self.label)
            caption = _said(fields, self.caption)
            own = _said(fields, self.source_id)
            licence = _said(fields, self.licence) or self.licence_text
        except ValueError:  # UnicodeDecodeError and JSONDecodeError are
            return item._replace(problem=NO_TEXT)
        if isinstance(label, str) and re.fullmatch("-?[0-9]{1,18}", label):
            label = int(label)
        problems = {
            NO_IMAGE: item.image is None,
            NO_LABEL: self.label is not None and label in (None, ""),
            NO_LICENCE: not licence,
        }
        return item._replace(
            source_id=name if own is None else str(own),
            label=-1 if label is None else label,
            caption="" if caption is None else str(caption),
            licence=str(licence or ""),
            problem=next((problem for problem, is_so in problems.items() if is_so), None),
        )


class _Header(tarfile.TarInfo):
    """A header whose damage is an error; tarfile takes it for the end of the file."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        """The header in `buf`."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:
            raise  # zeros: the regular end
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _samples(path: Path, wanted: set[str]) -> Iterator[tuple[str | None, Fields | None]]:
    """(key, fields) of each sample; (key, None) of one cut short, then (None, None) for `path`."""
    key, fields = None, {}
    try:
        with tarfile.open(path, "r|*", tarinfo=_Header) as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # it would remember every header
                if not member.isfile():
                    continue
                folder, slash, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                if folder + slash + stem != key:
                    if key is not None:
                        yield key, fields
                    key, fields = folder + slash + stem, {}
                if extension.lower() in wanted:
                    fields[extension.lower()] = tar.extractfile(member).read()
    except tarfile.TarError:
        if key is not None:
            yield key, None
        yield None, None
        return
    if key is not None:
        yield key, fields


def _member(name: str) -> str:
    """The extension that `name` is read from."""
    return "json" if name.startswith("json.") else name


def _said(fields: Fields, name: str | None) -> object:
    """What a sample says under `name`; None if nothing."""
    data = None if name is None else fields.get(_member(name))
    if data is None:
        return None
    if _member(name) == name:
        return data.decode().strip()
    found = json.loads(data)
    value = found.get(name.removeprefix("json.")) if isinstance(found, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise ValueError(f"{name} is neither text nor a whole number")
    return value
