"""The command line: python -m routing STAGE --in name=path --out name=path --spec JSON.

A stage is a module in `routing.stages` with a function `run(job)`. `--in` may be repeated. An
input may have several files, in order (`--in experts=a b c`), or none (`--in router=`). All files
are named, so a command from a log can be pasted into a shell. A user's error ends in one line and
exit status 1, an interruption (SIGINT, SIGTERM) in one line and status 130. Outputs are written
completely or not at all.
"""

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from routing.workflow.stage_names import STAGES


def main(argv: list[str] | None = None) -> int:
    """Run one stage, and return the exit status."""
    args = parser().parse_args(argv)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_log(args.log))
            _run(args)
        except KeyboardInterrupt:
            return _exit(args, "interrupted; run the same command to resume", 130)
        except ValueError as error:
            return _exit(args, str(error), 1)
        except OSError as error:
            what = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
            return _exit(
                args, f"{what}; no output was changed: fix it and run the command again", 1
            )
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(prog="python -m routing", description=__doc__)
    command.add_argument("stage", choices=STAGES)
    files = {"action": "append", "nargs": "+", "default": [], "metavar": "NAME=PATH"}
    command.add_argument("--in", dest="inputs", **files)
    command.add_argument("--out", dest="outputs", **files)
    command.add_argument(
        "--spec", default="{}", metavar="JSON", help="the part of the config that the stage reads"
    )
    command.add_argument("--log", type=Path, help="file for a copy of the messages")
    return command


def _run(args: argparse.Namespace) -> None:
    inputs, outputs = _files("--in", args.inputs), _files("--out", args.outputs)
    for name, paths in outputs.items():
        if len(paths) != 1:
            raise ValueError(f"--out {name}: wanted one path, got {len(paths)}; give one")
    files = {name: paths[0] for name, paths in outputs.items()}
    spec = _spec(args.spec)
    from routing.workflow.job import Job

    module = importlib.import_module(f"routing.stages.{args.stage}")
    with Job(args.stage, inputs, files, spec) as job:
        module.run(job)


def _files(option: str, words: list[list[str]]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for first, *others in words:
        name, equals, path = first.partition("=")
        if not (name and equals):
            raise ValueError(f"{option}: wanted NAME=PATH, got {first!r}; give every file a name")
        if name in found:
            raise ValueError(
                f"{option} {name}: wanted once, got twice; list all files after one {name}="
            )
        found[name] = [Path(word) for word in [path, *others] if word]
    return found


def _spec(text: str) -> dict:
    try:
        spec = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"--spec: wanted JSON, got {text[:60]!r} ({error}); check the quotes"
        ) from None
    if not isinstance(spec, dict):
        raise ValueError(f"--spec: wanted a JSON object, got {text[:60]!r}; correct it")
    return spec


def _exit(args: argparse.Namespace, text: str, status: int) -> int:
    print(f"{args.stage}: {' '.join(text.split())}", file=sys.stderr)
    return status


@contextlib.contextmanager
def _log(path: Path | None):
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file, contextlib.redirect_stderr(_Tee(file, sys.stderr)):
        try:
            yield
        except Exception:
            traceback.print_exc(
                file=file
            )  # an error of the program; Python prints it on the screen
            raise


class _Tee:
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
    for known in SIGNALS:  # a second signal must not stop the clean-up
        signal.signal(known, signal.SIG_IGN)
    raise KeyboardInterrupt


SIGNALS = (signal.SIGINT, signal.SIGTERM)

if __name__ == "__main__":
    for known in SIGNALS:
        signal.signal(known, _interrupt)
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
