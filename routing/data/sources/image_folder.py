"""A folder of images."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from routing.data.sources.base import (
    NO_FILE,
    NO_TEXT,
    Item,
    decode_text,
    is_hidden,
    require_licence,
    shard_range,
)

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)


@dataclass(frozen=True)
class ImageFolder:
    """The image files under a folder, recognised by their suffix, sorted by name in each folder.

    The label is the first folder of the relative path ("" for a file at the top), the id is the
    relative path. `captions`: "none"; "label", the label with spaces for underscores; "sidecar",
    the text file beside the image (a.txt for a.jpg), empty if there is none. Hidden files are
    ignored. Links are followed; a link to a folder above it is an error.
    """

    path: str
    licence_text: str
    captions: Literal["none", "label", "sidecar"] = "none"
    visibility: Literal["public", "private"] = "public"

    def __post_init__(self) -> None:
        """Validate the options."""
        require_licence("image_folder", None, self.licence_text)

    def items(self, shard: int, num_shards: int) -> Iterator[Item]:
        """Yield the files of `shard`, in order. The folder is walked twice."""
        root = Path(self.path)
        if not root.is_dir():
            raise ValueError(f"image_folder: path {self.path!r} is not a folder; correct `path`")
        num = sum(1 for _ in _walk(root, ()))
        if not num:
            raise ValueError(
                f"image_folder: wanted images ({', '.join(SUFFIXES)}) under path {self.path!r}, "
                f"got none; correct `path`"
            )
        mine = shard_range(num, shard, num_shards)
        for path in itertools.islice(_walk(root, ()), mine.start, mine.stop):
            yield self._item(path, path.relative_to(root))

    def _item(self, path: Path, name: Path) -> Item:
        label = name.parts[0] if len(name.parts) > 1 else ""
        item = Item(name.as_posix(), None, label, licence=self.licence_text)
        try:
            item = item._replace(image=path.read_bytes())
        except FileNotFoundError:  # a broken link
            return item._replace(problem=NO_FILE)
        if self.captions == "label":
            return item._replace(caption=label.replace("_", " "))
        beside = path.with_suffix(".txt")
        if self.captions == "none" or not beside.is_file():
            return item
        try:
            return item._replace(caption=decode_text(beside.read_bytes()))
        except UnicodeDecodeError:
            return item._replace(problem=NO_TEXT)


def _walk(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Yield the image files under `folder` in order; `above` are the folders that contain it."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise ValueError(
            f"image_folder: the link {folder} leads back to a folder above it; remove it"
        )
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.is_dir()) for e in entries if not is_hidden(e.name))
    for name, is_folder in found:
        if is_folder:
            yield from _walk(folder / name, (*above, here))
        elif name.lower().endswith(SUFFIXES):
            yield folder / name
