"""WebDataset: tar files; neighbouring members with one name up to the first dot are a sample."""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from routing.data.sources.base import (
    CUT_ARCHIVE,
    NO_FILE,
    NO_IMAGE,
    NO_LABEL,
    NO_LICENCE,
    NO_TEXT,
    Item,
    decode_text,
    is_hidden,
    list_files,
    require_licence,
    shard_range,
    without_mark,
)
from routing.data.sources.tar_links import LinkReader

MOST_PARTS = 64  # members that are held until it is known whether they are one sample
Fields = dict[str, bytes | None]  # the files of a sample, by extension; None: a broken link


@dataclass(frozen=True)
class WebDataset:
    """Tar files (plain, .gz, .bz2 or .xz): one, all under a folder, or a glob.

    Shards divide the files. A sample consists of neighbouring members whose path is the same up
    to the first dot of the name; the rest, in lower case, is the extension. `image` lists the
    extensions of the image; the first that is present is read. If there is none, but names end in
    one, as in "img v1.0.png", each name up to such an extension is a sample. `label`, `caption`,
    `licence` and `source_id` name an extension or, as "json.field", a field of a JSON member. A
    label of digits is a number. Without `source_id` the id is "tar/path". Hidden members are
    ignored. A link is read as the member that it names; a sample is rejected if a link in it
    names none. A truncated file is rejected under its own name, together with its last sample;
    the samples before are kept.
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
        """Validate the options."""
        require_licence("webdataset", self.licence, self.licence_text)

    def items(self, shard: int, num_shards: int) -> Iterator[Item]:
        """Yield the samples of the files of `shard`, in their order."""
        suffixes = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
        named = list_files(self.path, suffixes, "webdataset")
        if num_shards > len(named):
            raise ValueError(
                f"webdataset: wanted at most one shard per tar file, got {num_shards} shards for "
                f"{len(named)} files; lower data.num_shards"
            )
        for number in shard_range(len(named), shard, num_shards):
            name, path = named[number]
            for key, fields in _samples(path, self._wanted(), self.image):
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
        if None in fields.values():
            return Item(name, None, problem=NO_FILE)
        item = Item(name, next((fields[key] for key in self.image if key in fields), None))
        try:
            label = _value(fields, self.label)
            caption = _value(fields, self.caption)
            own = _value(fields, self.source_id)
            licence = _value(fields, self.licence) or self.licence_text
        except ValueError:  # includes UnicodeDecodeError and JSONDecodeError
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
    """A header that raises an error if it is damaged, which tarfile takes for the end."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        """Return the header in `buf`."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:
            raise  # zeros: the regular end
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _samples(
    path: Path, wanted: set[str], images: tuple[str, ...]
) -> Iterator[tuple[str | None, Fields | None]]:
    """Yield (key, fields) of each sample.

    At a truncation: (key, None) for the sample, then (None, None) for the file `path`.
    """
    key, parts, is_split = None, {}, False
    links = LinkReader(path)
    try:
        with tarfile.open(path, "r|*", tarinfo=_Header) as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # else it keeps every header
                if member.isdir() or is_hidden(member.name):
                    continue
                folder, slash, base = member.name.rpartition("/")
                stem, _, rest = base.partition(".")
                if folder + slash + stem != key:
                    if key is not None:
                        yield from _of_group(key, parts, wanted, images, is_split)
                    key, parts, is_split = folder + slash + stem, {}, False
                if _needed(rest, parts, wanted, images):
                    parts[rest] = (
                        tar.extractfile(member).read() if member.isfile() else links.read(member)
                    )
                if len(parts) > MOST_PARTS and not _has_image(parts, images):
                    last = _ending(rest, wanted)[0]
                    done = {
                        name: d for name, d in parts.items() if _ending(name, wanted)[0] != last
                    }
                    yield from _of_group(key, done, wanted, images, True)
                    parts = {n: d for n, d in parts.items() if n not in done}
                    is_split = True
    except tarfile.TarError:
        if key is not None:
            yield key, None
        yield None, None
        return
    finally:
        links.close()
    if key is not None:
        yield from _of_group(key, parts, wanted, images, is_split)


def _of_group(
    key: str, parts: Fields, wanted: set[str], images: tuple[str, ...], is_split: bool
) -> Iterator[tuple[str, Fields]]:
    """Yield the samples of members with one name up to the first dot; `parts` has their rests.

    They are one sample if one of them is its image, else a sample for each name up to the
    extension.
    """
    endings = {rest: _ending(rest, wanted) for rest in parts}
    has_others = any(extension in images for _, extension in endings.values())
    if not is_split and (_has_image(parts, images) or not has_others):
        yield key, {rest.lower(): data for rest, data in parts.items() if rest.lower() in wanted}
        return
    samples: dict[str, Fields] = {}
    for rest, (middle, extension) in endings.items():
        samples.setdefault(f"{key}.{middle}" if middle else key, {})[extension] = parts[rest]
    yield from samples.items()


def _ending(rest: str, wanted: set[str]) -> tuple[str, str | None]:
    """Return (text before, extension) of the longest extension in `wanted` that ends `rest`."""
    lower = rest.lower()
    for start in (0, *(i + 1 for i, letter in enumerate(lower) if letter == ".")):
        if lower[start:] in wanted:
            return rest[: max(start - 1, 0)], lower[start:]
    return rest, None


def _has_image(parts: Fields, images: tuple[str, ...]) -> bool:
    return any(rest.lower() in images for rest in parts)


def _needed(rest: str, parts: Fields, wanted: set[str], images: tuple[str, ...]) -> bool:
    """Return whether a member may belong to a sample, as far as the members before it show."""
    if rest.lower() in wanted:
        return True
    return not _has_image(parts, images) and _ending(rest, wanted)[1] is not None


def _member(name: str) -> str:
    """Return the extension that `name` is read from."""
    return "json" if name.startswith("json.") else name


def _value(fields: Fields, name: str | None) -> object:
    """Return the value of a sample under `name`; None if there is none."""
    data = None if name is None else fields.get(_member(name))
    if data is None:
        return None
    if _member(name) == name:
        return decode_text(data)
    found = json.loads(data)
    value = found.get(name.removeprefix("json.")) if isinstance(found, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise ValueError(f"{name} is neither text nor an integer")
    return without_mark(value) if isinstance(value, str) else value
