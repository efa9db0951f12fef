"""One run of a stage: it checks named inputs and writes all named outputs, or none.

    with Job(stage, inputs, outputs, spec) as job:
        table = job.table("assignments")
        job.write_table("loss", frame)

The checksum of an input is checked when it is first opened, and its sha256 becomes part of the
provenance of every output. Outputs get their names when the block ends without an error.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from routing.workflow import artifacts, code_digest, provenance, streamed_artifacts

Inputs = dict[str, list[Path]]


class Spec(dict):
    """The part of the config that a job reads. A missing key is a ValueError."""

    def __missing__(self, key: str) -> Any:
        raise ValueError(f"--spec: this job needs the key {key!r}; add it")


class Job:
    """The inputs, outputs and spec of one run of `stage`; a context manager.

    `device` is the name of the device that computes; a stage may change it.
    """

    def __init__(self, stage: str, inputs: Inputs, outputs: dict[str, Path], spec: dict):
        self.stage, self.inputs, self.outputs, self.spec = stage, inputs, outputs, Spec(spec)
        self.device = "cpu"
        self.start = time.monotonic()
        self._temporaries: dict[Path, Path] = {}  # by the path of the output
        self._unfinished: list[Path] = []
        self._siblings: dict[str, str] = {}
        self._checked: dict[Path, artifacts.Checked] = {}

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> None:
        """Rename the temporary files to the outputs, or remove them after an error."""
        try:
            if kind is None:
                self._commit()
        finally:
            for temporary in self._temporaries.values():
                temporary.unlink(missing_ok=True)

    def table(self, name: str, index: int = 0, columns: list[str] | None = None) -> pd.DataFrame:
        """Return the table of the `index`-th file of input `name`, or these columns of it."""
        return artifacts.read_table(self._open(name, index), columns)

    def arrays(self, name: str, index: int = 0) -> dict[str, np.ndarray]:
        """Return the arrays of the `index`-th file of input `name`."""
        return artifacts.read_arrays(self._open(name, index))

    def mapped(self, name: str, index: int = 0) -> dict[str, np.ndarray]:
        """Return the same arrays, memory-mapped and read only."""
        return artifacts.map_arrays(self._open(name, index))

    def metadata(self, name: str, index: int = 0) -> dict[str, Any]:
        """Return the provenance of input `name`, with the metadata that its stage added."""
        return artifacts.read_provenance(self._open(name, index))

    def count(self, name: str) -> int:
        """Return the number of files of input `name`."""
        return len(self.inputs.get(name, []))

    def digests(self) -> dict[str, list[str]]:
        """Return the sha256 of every input file, by the name of the input."""
        return {n: [self._check(p).sha256 for p in paths] for n, paths in self.inputs.items()}

    def unfinished(self, name: str) -> Path:
        """Return the path for the state of unfinished work on output `name`.

        After an interruption the same command continues from it. The file is removed when all
        outputs are written.
        """
        path = self._output(name).with_suffix(".state")
        self._unfinished.append(path)
        return path

    def write_table(self, name: str, frame: pd.DataFrame, **metadata: Any) -> None:
        """Write output `name` as Parquet; `metadata` becomes part of its provenance."""
        data = artifacts.table_bytes(frame, self._provenance(metadata))
        self._write(self._output(name), artifacts.with_checksum(data))

    def write_arrays(self, name: str, arrays: dict[str, np.ndarray], **metadata: Any) -> None:
        """Write output `name` as safetensors; `metadata` becomes part of its provenance."""
        data = artifacts.arrays_bytes(arrays, self._provenance(metadata))
        self._write(self._output(name), artifacts.with_checksum(data))

    def write_array_blocks(
        self, name: str, blocks: Iterable[dict[str, np.ndarray]], **metadata: Any
    ) -> None:
        """Write output `name` as safetensors from blocks {array: [rows, ...]}, one at a time.

        A value of `metadata` may be a callable; it is called after the last block.
        """
        path = self._output(name)
        self._temporaries[path] = streamed_artifacts.write_array_blocks(
            path, blocks, lambda: self._provenance(metadata)
        )

    def write_table_blocks(
        self, name: str, frames: Iterable[pd.DataFrame], **metadata: Any
    ) -> None:
        """Write output `name` as Parquet from one or more frames, one at a time."""
        path = self._output(name)
        self._temporaries[path] = streamed_artifacts.write_table_blocks(
            path, frames, lambda: self._provenance(metadata)
        )

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a picture or text. The tables that are written later record its sha256."""
        path = self._output(name)
        self._write(path, data)
        self._siblings[path.name] = hashlib.sha256(data).hexdigest()

    def _commit(self) -> None:
        missing = set(self.outputs.values()) - self._temporaries.keys()
        assert not missing, f"stage {self.stage} did not write {missing}"
        try:
            for path, temporary in self._temporaries.items():
                os.replace(temporary, path)
        except BaseException:
            for path, temporary in self._temporaries.items():
                if not temporary.exists():  # renamed already: remove the half result
                    path.unlink()
            raise
        for path in self._unfinished:
            path.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes) -> None:
        self._temporaries[path] = artifacts.write_temporary(path, lambda file: file.write(data))

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
            _check_code(path)
            self._checked[path] = found
        return self._checked[path]

    def _provenance(self, metadata: dict[str, Any]) -> dict[str, Any]:
        return (
            self._origin
            | {"seconds": round(time.monotonic() - self.start, 3), "device": self.device}
            | ({"siblings": dict(self._siblings)} if self._siblings else {})
            | {name: value() if callable(value) else value for name, value in metadata.items()}
        )

    @cached_property
    def _origin(self) -> dict[str, Any]:
        inputs = {n: [(p, self._check(p).sha256) for p in ps] for n, ps in self.inputs.items()}
        return provenance.origin(self.stage, self.spec, inputs)


def _check_code(path: Path) -> None:
    """Raise ValueError if the code that made the artifact was edited since."""
    note = artifacts.read_provenance(path)
    differ = code_digest.differences(note["code"], code_digest.closure(note["stage"]))
    if differ:
        raise ValueError(
            f"input {path} was made by other code ({', '.join(differ)} differ); delete it and run "
            f"the same command again: it will be made again"
        )
