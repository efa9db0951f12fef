"""Download a file with resume: to NAME.part, which is renamed when size and sha256 are right.

NAME.part is kept after an interruption. The next attempt requests the rest from the server
(Range), and starts again if the server sends the whole file. A file with a wrong sha256 is
removed.
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
    """Download `address` to `path`, and return its sha256.

    `size` and `sha256` are checked unless they are None. Raises ValueError if the server reports
    an error, the connection breaks, or the file is another one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    if size is not None and have > size:
        have = 0  # the part is of another file
    if size is None or have < size:
        _download(address, part, have)
    found = part.stat().st_size
    if size is not None and found != size:
        if found > size:
            part.unlink()
        raise ValueError(
            f"{address}: wanted {size} bytes, got {found}; run the same command again; if "
            f"that does not help, the address has another file"
        )
    with open(part, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 is not None and digest != sha256:
        part.unlink()
        raise ValueError(
            f"{address}: wanted sha256 {sha256}, got {digest}; the download was removed: "
            f"the address has another file, or the transfer failed"
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
            is_resumed = answer.status == 206 and _starts_at(answer, have)
            with open(part, "ab" if is_resumed else "wb") as file:
                _copy(answer, file, part.stem, have if is_resumed else 0)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is complete or of another file: the caller checks it
            return
        raise ValueError(
            f"{address}: the server reports {error.code} {error.reason}; correct the address, or "
            f"download the file by hand if it needs a login"
        ) from None
    except (OSError, EOFError) as error:
        raise ValueError(f"{address}: {error}; run the same command to resume") from None


def _starts_at(answer, have: int) -> bool:
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
        raise EOFError(f"the connection broke after {done} of {total} bytes")
