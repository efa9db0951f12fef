"""A file from an address: to NAME.part, on from where it was stopped, and in place if it is right.

What stands in NAME.part is kept after an interruption; the next attempt asks the server for the
rest (Range) and begins anew where the server sends the whole. Size and sha256 are checked before
the file gets its name; what is wrong is thrown away.
"""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from routing.workflow.progress import progress_bar

CHUNK = 1 << 20
TIMEOUT_S = 60


def fetch(address: str, path: Path, size: int | None = None, sha256: str | None = None) -> str:
    """Bring `address` to `path`; its sha256. None: unknown, and not checked.

    Raises ValueError (one line) if the server refuses, the line breaks, or what came is not what
    was wanted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    if size is not None and have > size:
        have = 0  # of another file
    if size is None or have < size:
        _download(address, part, have)
    found = part.stat().st_size
    if size is not None and found != size:
        if found > size:
            part.unlink()
        raise ValueError(
            f"{address}: wanted {size} bytes, got {found}; run the same command again, and "
            f"if it stays so the address has another file"
        )
    with open(part, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and digest != sha256:
        part.unlink()
        raise ValueError(
            f"{address}: wanted sha256 {sha256}, got {digest}; thrown away: the address has "
            f"another file, or the line a fault"
        )
    os.replace(part, path)
    return digest


def _download(address: str, part: Path, have: int) -> None:
    request = urllib.request.Request(
        address, headers={"User-Agent": "routing.pretrained.manifest"}
    )
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            goes_on = answer.status == 206 and _begins_at(answer, have)
            with open(part, "ab" if goes_on else "wb") as file:
                _copy(answer, file, part.stem, have if goes_on else 0)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left, or the part is of another file: the check says
            return
        raise ValueError(
            f"{address}: the server says {error.code} {error.reason}; correct the address, or "
            f"fetch it by hand where a login is wanted"
        ) from None
    except (OSError, EOFError) as error:
        raise ValueError(f"{address}: {error}; the same command goes on from here") from None


def _begins_at(answer, have: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")


def _copy(answer, file: BinaryIO, label: str, have: int) -> None:
    length = answer.headers.get("Content-Length")
    total = have + int(length) if length else None
    progress = progress_bar(label, total, initial=have) if total else None
    done = have
    while piece := answer.read(CHUNK):
        file.write(piece)
        done += len(piece)
        if progress:
            progress.update(len(piece))
    if total is not None and done < total:
        raise EOFError(f"the line broke after {done} of {total} bytes")
