"""Temporary files: those of dead processes are removed, those of living ones and hosts are not."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from routing.workflow import artifacts, streamed_artifacts, temporary_files
from routing.workflow.temporary_files import HOST


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def folder(tmp_path, dead):
    """A folder with temporary files, and the names of those that are abandoned."""
    abandoned = {f".a.parquet.{HOST}.{dead}.tmp", f".a.parquet.part.{HOST}.{dead}.tmp"}
    kept = {
        f".a.parquet.{HOST}.{os.getpid()}.tmp",
        f".a.parquet.{HOST}.1.tmp",  # of another user, unless root runs the tests
        f".a.parquet.other-host.{dead}.tmp",
        f".a.parquet.{dead}.tmp",
        f"a.parquet.{HOST}.{dead}.tmp",
        f".a.parquet.{HOST}.{dead}.tmp.parquet",
        "a.parquet",
    }
    for name in abandoned | kept:
        (tmp_path / name).write_text("x")
    return tmp_path, abandoned, kept


def test_only_files_of_dead_processes_of_this_host_are_removed(folder):
    path, abandoned, kept = folder
    (path / "deep").mkdir()
    (path / "deep" / sorted(abandoned)[0]).write_text("x")
    removed = temporary_files.remove_abandoned(path)
    assert {p.name for p in removed} == abandoned and len(removed) == 3
    assert {p.name for p in path.iterdir()} == kept | {"deep"}
    assert not list((path / "deep").iterdir())
    assert temporary_files.remove_abandoned(path / "nowhere") == []


def test_writing_an_output_again_removes_those_of_this_output(folder, dead):
    path, abandoned, kept = folder
    other = f".a.safetensors.{HOST}.{dead}.tmp"
    (path / other).write_text("x")
    artifacts.write_atomically(path / "a.parquet", b"new")
    own = f".a.parquet.{HOST}.{os.getpid()}.tmp"  # was written, then renamed
    assert {p.name for p in path.iterdir()} == (kept | {other}) - {own}
    assert (path / "a.parquet").read_bytes() == b"new"


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from routing.workflow import streamed_artifacts
def blocks():
    yield {"x.y": np.ones((2, 3))}
    os.kill(os.getpid(), signal.SIGKILL)
streamed_artifacts.write_array_blocks(Path(sys.argv[1]), blocks(), dict)
"""


def test_a_killed_writer_leaves_nothing_for_ever(tmp_path):
    path = tmp_path / "a.safetensors"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert killed.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    made = streamed_artifacts.write_array_blocks(path, iter([{"x.y": np.ones((2, 3))}]), dict)
    assert list(tmp_path.iterdir()) == [made]
    assert made == temporary_files.temporary_path(path)
    assert temporary_files.NAME.fullmatch(made.name)["pid"] == str(os.getpid())
