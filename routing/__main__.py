"""The one door: python -m routing STAGE --in name=path --out name=path --spec JSON.

A stage is a module of this package with `run(job)`. `--in` may be repeated; a name with several
files takes them in order (`--in experts=a b c`, none: `--in router=`). All files are named, so a
logged command can be pasted into a shell. What a user may do wrong ends in one line and exit
status 1; Ctrl-C and a termination signal end in one line and status 130. Outputs appear whole or
not at all.
"""

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path

from routing.code import STAGES


def main(argv: list[str] | None = None) -> int:
    """Run one stage; returns the exit status."""
    args = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _log(args.log):
            return _run(args)
    except KeyboardInterrupt:
        print(f"{args.stage}: interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line."""
    door = argparse.ArgumentParser(prog="python -m routing", description=__doc__)
    door.add_argument("stage", choices=STAGES)
    files = {"action": "append", "nargs": "+", "default": [], "metavar": "NAME=PATH"}
    door.add_argument("--in", dest="inputs", **files)
    door.add_argument("--out", dest="outputs", **files)
    door.add_argument("--spec", default="{}", metavar="JSON", help="what the stage is to do")
    door.add_argument("--log", type=Path, help="file that gets a copy of the messages")
    return door


def _run(args: argparse.Namespace) -> int:
    from routing.job import Job

    try:
        inputs = dict(map(_named, args.inputs))
        outputs = {name: paths[0] for name, paths in map(_named, args.outputs)}
        module = importlib.import_module(f"routing.{args.stage}")
        with Job(args.stage, inputs, outputs, json.loads(args.spec)) as job:
            module.run(job)
    except ValueError as error:
        print(f"{args.stage}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
        print(f"{args.stage}: {what}; nothing was lost, mend it and rerun", file=sys.stderr)
        return 1
    return 0


def _named(words: list[str]) -> tuple[str, list[Path]]:
    name, equals, first = words[0].partition("=")
    if not (name and equals):
        raise ValueError(f"wanted NAME=PATH, got {words[0]!r}; give every file a name")
    return name, [Path(word) for word in [first, *words[1:]] if word]


@contextlib.contextmanager
def _log(path: Path | None):
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file, contextlib.redirect_stderr(_Both(file, sys.stderr)):
        yield


class _Both:
    """A stream that writes to the log and to the screen."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text):
        for stream in self.streams:
            stream.write(text)

    def flush(self):
        for stream in self.streams:
            stream.flush()


def _interrupt(number, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
