"""The command: list, check or fetch files of the manifest (see `routing.pretrained.manifest`)."""

import argparse
import os
import sys
from pathlib import Path

from routing.pretrained import manifest
from routing.pretrained.manifest import Entry, File, entries, entry, folder, said, state
from routing.pretrained.manifest.download import fetch


def listed(where: Path, names: list[str], anew: bool) -> bool:
    """Print a line per file of these ids (none: of all); whether all is as it should be.

    A wrong file is not, nor an absent one that was named.
    """
    chosen = [entry(n) for n in names] or [*entries().values(), *entries("data").values()]
    width = max(len(file.file) for found in chosen for file in found.files)
    print(f"{'id':<20}{'state':<14}{'bytes':>12}  {'file':<{width}}  licence")
    fine = True
    for found in chosen:
        for file in found.files:
            kind = state(file, where / file.file, anew)
            fine &= kind != "wrong" and not (names and kind == "absent")
            size, rest = said(file.bytes), said(found.licence)
            rest += "" if file.sha256 else "; sha256 unknown"
            print(f"{found.id:<20}{kind:<14}{size:>12}  {file.file:<{width}}  {rest}")
    return fine


def main(argv: list[str] | None = None) -> int:
    """List, check or fetch; returns the exit status."""
    door = argparse.ArgumentParser(
        prog="python -m routing.pretrained.manifest",
        description=manifest.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    door.add_argument("command", choices=["list", "check", "fetch"])
    door.add_argument("ids", nargs="*", metavar="ID")
    door.add_argument("--folder", type=Path, help="instead of $ROUTING_WEIGHTS or ./weights")
    door.add_argument("--accept", action="store_true", help="files without a known sha256 too")
    args = door.parse_args(argv)
    where = folder(args.folder)
    try:
        if args.command == "fetch":
            if not args.ids:
                raise ValueError(
                    "weights: fetch wanted ids, got none; list them with "
                    "python -m routing.pretrained.manifest list"
                )
            for found in [entry(name) for name in args.ids]:
                for file in found.files:
                    bring(found, file, where / file.file, args.accept)
            return 0
        fine = listed(where, args.ids, anew=args.command == "check")
        return int(args.command == "check" and not fine)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("weights: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def bring(found: Entry, file: File, path: Path, accept: bool) -> None:
    """Bring `file` of `found` to `path`, unless it is there."""
    if state(file, path) == "present":
        print(f"{path}: present", file=sys.stderr)
        return
    if file.sha256 is None and not accept:
        raise ValueError(
            f"weights: {found.id}: the sha256 of {file.file} is not known, so that nothing says "
            f"whether what comes is it; --accept takes it and remembers its sha256"
        )
    print(f"{file.address} -> {path} (licence: {said(found.licence)})", file=sys.stderr)
    digest = fetch(file.address, path, file.bytes, file.sha256)
    if file.sha256 is None:
        path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")


if __name__ == "__main__":
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; nor shall the exit flush into it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
