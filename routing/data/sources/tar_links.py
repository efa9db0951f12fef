"""The contents of links in tar files.

A hard link names an earlier member of the archive, a symbolic link a path beside itself. Programs
write a hard link where two files are one, for example a caption file that many images share. A
stream cannot go back to the member that a link names. So the first link of an archive opens it a
second time and lists its members; a compressed archive is first unpacked into a temporary file,
without a name, in the folder for temporary files (TMPDIR). Nothing outside the archive is read.
"""

import io
import lzma
import posixpath
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

DAMAGED = (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error)


class LinkReader:
    """Reads what the links in the archive `path` lead to."""

    def __init__(self, path: Path):
        """Open nothing; the first `read` opens the archive."""
        self.path = path
        self._file: io.BufferedIOBase | None = None
        self._tar: tarfile.TarFile | None = None
        self._members: dict[str, list[tarfile.TarInfo]] = {}  # by name, in order

    def read(self, link: tarfile.TarInfo) -> bytes | None:
        """Return the contents of the file that `link` leads to, over further links.

        None if the archive has no such file, if the links lead in a circle, or if the file is
        damaged.
        """
        if self._file is None:
            self._open()
        seen, member = set(), link
        while member is not None and not member.isfile():
            if member.offset in seen:
                return None
            seen.add(member.offset)
            member = self._target(member)
        try:
            return None if member is None else self._tar.extractfile(member).read()
        except DAMAGED:
            return None

    def close(self) -> None:
        """Close the archive."""
        if self._file is not None:
            self._file.close()

    def _target(self, link: tarfile.TarInfo) -> tarfile.TarInfo | None:
        """Return the member that `link` names; of several, the last, or the last before it."""
        if link.islnk():
            found = self._members.get(posixpath.normpath(link.linkname), [])
            found = [member for member in found if member.offset < link.offset]
        elif link.issym():
            beside = posixpath.join(posixpath.dirname(link.name), link.linkname)
            found = self._members.get(posixpath.normpath(beside), [])
        else:  # a device, a pipe or a folder
            found = []
        return found[-1] if found else None

    def _open(self) -> None:
        self._file = _unpacked(self.path)
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r:")
            for member in self._tar:
                self._members.setdefault(posixpath.normpath(member.name), []).append(member)
        except DAMAGED:
            pass  # the members before the damage are there; the stream reports it


def _unpacked(path: Path) -> io.BufferedIOBase:
    """Return the archive as a file that can be read at any place, without compression."""
    with tarfile.open(path) as tar:
        if isinstance(tar.fileobj, io.BufferedReader):
            return open(path, "rb")
        file = tempfile.TemporaryFile()
        tar.fileobj.seek(0)
        for chunk in _chunks(tar.fileobj):
            file.write(chunk)
    file.seek(0)
    return file


def _chunks(file: io.BufferedIOBase) -> Iterator[bytes]:
    """Yield the bytes of `file`, up to its end or its damage, as `LinkReader._open` reads."""
    while True:
        try:
            chunk = file.read1(1 << 16)  # read() would lose the bytes just before the damage
        except DAMAGED:
            return
        if not chunk:
            return
        yield chunk
