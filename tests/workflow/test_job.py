"""A job: it checks the checksum and the code of its inputs, and writes all outputs or none."""

import os

import numpy as np
import pandas as pd
import pytest

from routing.workflow import artifacts, code_digest
from routing.workflow.job import Job
from routing.workflow.provenance import PACKAGES

FRAME = pd.DataFrame({"a": [1, 2]})
ARRAYS = {"x": np.arange(3.0)}


def make(folder, stage="data", inputs=None, spec=None, arrays=ARRAYS, **notes):
    """`table` and `arrays` of one job in `folder`."""
    outputs = {"table": folder / "table.parquet", "arrays": folder / "arrays.safetensors"}
    with Job(stage, inputs or {}, outputs, spec or {}) as job:
        job.write_arrays("arrays", arrays, **notes)
        job.write_table("table", FRAME, **notes)
    return outputs


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def refusal(inputs, name="table"):
    """The one line that a job says about its inputs."""
    with pytest.raises(ValueError) as caught, Job("embed", inputs, {}, {}) as job:
        job.table(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_inputs_are_read(tmp_path):
    made = make(tmp_path, levels=16)
    other = make(tmp_path / "other", arrays={"x": np.zeros(2)})
    inputs = {"one": [made["table"]], "many": [other["arrays"], made["arrays"]], "none": []}
    with Job("embed", inputs, {}, {"seed": 3}) as job:
        pd.testing.assert_frame_equal(job.table("one"), FRAME)
        assert (job.arrays("many", 1)["x"] == ARRAYS["x"]).all()
        assert job.metadata("one")["levels"] == 16
        assert [job.count(name) for name in ("one", "many", "none", "unnamed")] == [1, 2, 0, 0]
        assert job.digests()["many"] == [artifacts.check(p).sha256 for p in inputs["many"]]


def test_provenance_says_it_all(tmp_path):
    """Every field of the contract (stage to licence), with the values it must have."""
    made = make(tmp_path, licence=["CC0"])
    spec, folder = {"run": "r", "seed": 7, "deep": {"a": [1.5]}}, tmp_path / "next"
    inputs = {"table": [made["table"]], "arrays": [made["arrays"], made["arrays"]]}
    later = make(folder, "embed", inputs, spec, levels=None)
    notes = [artifacts.read_provenance(path) for path in later.values()]
    for note in notes:
        assert note["stage"] == "embed" and note["spec"] == spec and note["levels"] is None
        assert note["inputs"] == {
            name: [{"path": p.as_posix(), "sha256": artifacts.check(p).sha256} for p in paths]
            for name, paths in inputs.items()
        }
        assert note["code"] == code_digest.closure("embed")
        assert len(note["commit"]) == 40 or note["commit"] == "unknown"
        assert isinstance(note["clean"], bool) and note["device"] == "cpu"
        assert note["seconds"] >= 0
        assert note["versions"].keys() == {"python", *PACKAGES}
        assert note["licence"] == ["CC0"] and note["visibility"] == "public"
    assert notes[0]["content"] == artifacts.table_digest(FRAME)
    assert notes[1]["content"] == artifacts.arrays_digest(ARRAYS)


def test_licences_and_visibility_are_inherited(tmp_path):
    one = make(tmp_path / "1", licence=["B"])["table"]
    two = make(tmp_path / "2", licence=["A", "B"], visibility="private")["table"]
    both = make(tmp_path / "3", "embed", {"a": [one], "b": [two]})["table"]
    note = artifacts.read_provenance(make(tmp_path / "4", "embed", {"a": [both]})["arrays"])
    assert note["licence"] == ["A", "B"] and note["visibility"] == "private"
    assert artifacts.read_provenance(one)["visibility"] == "public"
    assert artifacts.read_provenance(make(tmp_path / "5")["table"])["licence"] == []


def test_pictures_are_vouched_for_by_the_table_behind_them(tmp_path):
    outputs = {"pdf": tmp_path / "a.pdf", "md": tmp_path / "a.md", "table": tmp_path / "a.parquet"}
    with Job("figures", {}, outputs, {}) as job:
        job.write_bytes("pdf", b"picture")
        job.write_bytes("md", b"text")
        job.write_table("table", FRAME)
    siblings = artifacts.read_provenance(outputs["table"])["siblings"]
    assert siblings == {n: artifacts.check(tmp_path / n).sha256 for n in ("a.pdf", "a.md")}
    assert "siblings" not in artifacts.read_provenance(make(tmp_path / "other")["table"])


def test_content_is_the_same_in_another_place_and_time(tmp_path):
    one, two = make(tmp_path / "1"), make(tmp_path / "2", spec={"seed": 1})
    for name in one:
        notes = [artifacts.read_provenance(made[name]) for made in (one, two)]
        assert notes[0]["content"] == notes[1]["content"] and notes[0]["spec"] != notes[1]["spec"]


def test_outputs_appear_when_the_block_ends(tmp_path):
    outputs = {"table": tmp_path / "table.parquet", "other": tmp_path / "deep" / "other.parquet"}
    with Job("data", {}, outputs, {}) as job:
        job.write_table("table", FRAME)
        job.write_table("other", FRAME)
        assert not outputs["table"].exists() and not outputs["other"].exists()
    assert names(tmp_path) == ["deep", "table.parquet"]
    assert names(tmp_path / "deep") == ["other.parquet"]


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_nothing_new(tmp_path, error):
    made = make(tmp_path)
    before = {name: path.read_bytes() for name, path in made.items()}
    with pytest.raises(error), Job("data", {}, made, {"seed": 2}) as job:
        job.write_arrays("arrays", ARRAYS)
        raise error
    assert {name: path.read_bytes() for name, path in made.items()} == before
    assert names(tmp_path) == ["arrays.safetensors", "table.parquet"]


def test_a_second_write_that_fails_takes_the_first_along(tmp_path, monkeypatch):
    real, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="table.parquet"):
        make(tmp_path)
    assert len(calls) == 2 and names(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(5, "no"), KeyboardInterrupt()], ids=["io", "^C"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_rename_that_fails_leaves_no_half_result(tmp_path, monkeypatch, error, moment):
    real, calls = os.replace, []

    def fail(source, target):
        calls.append(target)
        if len(calls) == 2 and moment == "before":
            raise error
        real(source, target)
        if len(calls) == 2:
            raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)):
        make(tmp_path)
    assert len(calls) == 2 and names(tmp_path) == []


def test_a_forgotten_output_is_our_mistake(tmp_path):
    outputs = {"table": tmp_path / "table.parquet", "arrays": tmp_path / "arrays.safetensors"}
    with pytest.raises(AssertionError, match="arrays"), Job("data", {}, outputs, {}) as job:
        job.write_table("table", FRAME)
    assert names(tmp_path) == []


def test_unfinished_work_is_kept_until_all_is_done(tmp_path):
    outputs = {"weights": tmp_path / "weights.safetensors"}
    with pytest.raises(KeyboardInterrupt), Job("experts", {}, outputs, {}) as job:
        job.unfinished("weights").write_bytes(b"half")
        job.write_arrays("weights", ARRAYS)
        raise KeyboardInterrupt
    assert names(tmp_path) == ["weights.state"]
    with Job("experts", {}, outputs, {}) as job:
        assert job.unfinished("weights").read_bytes() == b"half"
        job.write_arrays("weights", ARRAYS)
    assert names(tmp_path) == ["weights.safetensors"]


def test_a_missing_input(tmp_path):
    path = tmp_path / "none.parquet"
    assert refusal({"table": [path]}) == (
        f"input {path} is missing; run the stage that makes it first"
    )


def test_files_that_the_command_does_not_name(tmp_path):
    assert "--in table=PATH" in refusal({}) and "wanted file number 1, got 0" in refusal({})
    with pytest.raises(ValueError, match="add --out table=PATH"), Job("data", {}, {}, {}) as job:
        job.write_table("table", FRAME)
    with pytest.raises(ValueError, match="needs the key 'seed'"), Job("data", {}, {}, {}) as job:
        job.spec["seed"]


@pytest.mark.parametrize("name", ["table", "arrays"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1])
def test_a_damaged_input_is_refused(tmp_path, name, share):
    path = make(tmp_path)[name]
    data = path.read_bytes()
    at = min(int(share * len(data)), len(data) - 1)
    for damaged in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at], b""):
        path.write_bytes(damaged)
        line = refusal({"table": [path]})
        assert str(path) in line and "damaged" in line and "delete it" in line
        with pytest.raises(ValueError, match="damaged"):  # also where nobody opens it
            make(tmp_path / "next", "embed", {"table": [path]})
        assert not (tmp_path / "next").exists()


def test_an_input_of_other_code_is_refused_and_the_file_named(tmp_path, monkeypatch):
    here = code_digest.closure("data")
    other = here | {"routing/workflow/artifacts.py": "0" * 16, "routing/gone.py": "1" * 16}
    with monkeypatch.context() as patch:
        patch.setattr(code_digest, "closure", lambda stage: other)
        made = make(tmp_path)
    line = refusal({"table": [made["table"]]})
    assert "made by other code (routing/gone.py, routing/workflow/artifacts.py differ)" in line
    assert str(made["table"]) in line and "delete it and run the same command again" in line


def test_a_job_reads_a_whole_input_once(tmp_path, monkeypatch):
    made = make(tmp_path)
    read, real = [], artifacts.check
    monkeypatch.setattr(artifacts, "check", lambda path: read.append(path) or real(path))
    with Job("embed", {"table": [made["table"]]}, {"out": tmp_path / "out.parquet"}, {}) as job:
        job.write_table("out", job.table("table"), levels=job.metadata("table").get("levels"))
    assert read == [made["table"]]


def test_each_job_looks_anew(tmp_path, monkeypatch):
    """A file accepted once is checked again by the next job: nothing is remembered between."""
    made = make(tmp_path)
    with Job("embed", {"table": [made["table"]]}, {}, {}) as job:
        job.table("table")
    monkeypatch.setattr(code_digest, "closure", lambda stage: {"routing/new.py": "2" * 16})
    assert "routing/new.py" in refusal({"table": [made["table"]]})
