"""The command line: list, check or fetch files of the manifest."""

import argparse
import os
import sys
from pathlib import Path

from routing.pretrained import manifest
from routing.pretrained.manifest import (
    Entry,
    File,
    entries,
    entry,
    file_state,
    or_unknown,
    weights_folder,
)
from routing.pretrained.manifest.download import fetch


def print_files(where: Path, names: list[str], anew: bool) -> bool:
    """Print a line per file of these ids (none: of all), and return whether all are right.

    An absent file counts as wrong only if its id is given.
    """
    chosen = [entry(n) for n in names] or [*entries().values(), *entries("data").values()]
    width = max(len(file.file) for found in chosen for file in found.files)
    print(f"{'id':<20}{'state':<14}{'bytes':>12}  {'file':<{width}}  licence")
    are_right = True
    for found in chosen:
        for file in found.files:
            kind = file_state(file, where / file.file, anew)
            are_right &= kind != "wrong" and not (names and kind == "absent")
            size, rest = or_unknown(file.bytes), or_unknown(found.licence)
            rest += "" if file.sha256 else "; sha256 unknown"
            print(f"{found.id:<20}{kind:<14}{size:>12}  {file.file:<{width}}  {rest}")
    return are_right


def main(argv: list[str] | None = None) -> int:
    """List, check or fetch files, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m routing.pretrained.manifest",
        description=manifest.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["list", "check", "fetch"])
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--folder", type=Path, help="instead of $ROUTING_WEIGHTS or ./weights")
    parser.add_argument(
        "--accept", action="store_true", help="also fetch files without a known sha256"
    )
    args = parser.parse_args(argv)
    where = weights_folder(args.folder)
    try:
        if args.command == "fetch":
            if not args.ids:
                raise ValueError(
                    "weights: fetch: wanted ids, got none; list them with "
                    "python -m routing.pretrained.manifest list"
                )
            for found in [entry(name) for name in args.ids]:
                for file in found.files:
                    fetch_file(found, file, where / file.file, args.accept)
            return 0
        are_right = print_files(where, args.ids, anew=args.command == "check")
        return int(args.command == "check" and not are_right)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("weights: interrupted; run the same command to resume", file=sys.stderr)
        return 130


def fetch_file(found: Entry, file: File, path: Path, accept: bool) -> None:
    """Download `file` of the entry `found` to `path`, unless it is there."""
    if file_state(file, path) == "present":
        print(f"{path}: present", file=sys.stderr)
        return
    if file.sha256 is None and not accept:
        raise ValueError(
            f"weights: {found.id}: the sha256 of {file.file} is unknown, so the file cannot be "
            f"verified; add --accept to store the sha256 of what is downloaded"
        )
    print(f"{file.address} -> {path} (licence: {or_unknown(found.licence)})", file=sys.stderr)
    digest = fetch(file.address, path, file.bytes, file.sha256)
    if file.sha256 is None:
        path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader closed the pipe; the exit must not flush into it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
