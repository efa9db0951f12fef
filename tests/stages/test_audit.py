"""The audit: what is tampered with is found, explained, and told in the order of the data."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from snakemake.persistence.file import FilePersistence

from routing.__main__ import main
from routing.stages import audit
from routing.workflow import artifacts, code_digest
from routing.workflow.job import Job

ROOT = "results/r"
FLOW = {  # stage -> its output and its inputs; by name, partition would come after experts
    "data": ("data/samples.safetensors", []),
    "embed": ("embed/pca/features.safetensors", ["data"]),
    "partition": ("partition/semantic/assignments.parquet", ["data", "embed"]),
    "experts": ("experts/semantic/0/weights.safetensors", ["data", "partition"]),
    "figures": ("figures/quality.parquet", ["experts"]),
}


def make(stage, folder=ROOT, value=1.0):
    name, inputs = FLOW[stage]
    files = {n: [Path(folder) / FLOW[n][0]] for n in inputs}
    outputs = {"made": Path(folder) / name}
    if stage == "figures":
        outputs["pdf"] = outputs["made"].with_suffix(".pdf")
    with Job(stage, files, outputs, {"run": "r"}) as job:
        if "pdf" in outputs:
            job.write_bytes("pdf", b"a picture")
        if name.endswith("parquet"):
            job.write_table("made", pd.DataFrame({"value": [value, 2.0]}))
        else:
            job.write_arrays("made", {"value": np.array([value, 2.0])})
    return outputs["made"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of five artifacts and a picture; its folder."""
    monkeypatch.chdir(tmp_path)
    for stage in FLOW:
        make(stage)
    return tmp_path / ROOT


@pytest.fixture
def audited(capsys):
    """Status, the table's lines and the line of the error."""

    def look(root=ROOT):
        capsys.readouterr()
        status = main(["audit", "--spec", f'{{"root": "{root}"}}'])
        said = capsys.readouterr()
        errors = said.err.splitlines()
        assert len(errors) == (status != 0) and status in (0, 1)
        return status, said.out.splitlines(), "".join(errors).removeprefix("audit: ")

    return look


def flip(path, at=-100):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_sound_run(run, audited):
    status, lines, _ = audited()
    assert status == 0 and lines[0].split() == ["artifact", "stage", "commit", "inputs", "result"]
    rows = [line.split() for line in lines[1:-1]]
    assert [row[0] for row in rows] == [FLOW[stage][0] for stage in FLOW]  # order of the data
    assert [row[1] for row in rows] == list(FLOW)
    assert [int(row[3]) for row in rows] == [len(FLOW[stage][1]) for stage in FLOW]
    assert all(row[-1] == "ok" for row in rows)
    assert lines[-1] == f"audit: 6 files of {ROOT}: checksums, inputs and code agree"


@pytest.mark.parametrize("stage", FLOW)
def test_an_altered_artifact(run, audited, stage):
    path = run / FLOW[stage][0]
    at = -5 if path.suffix == ".safetensors" else 10  # data, not metadata
    flip(path, at)
    status, lines, error = audited()
    assert status == 1 and error.startswith(f"{ROOT}/{FLOW[stage][0]}: its checksum is ")
    assert "altered; delete it and run the same command again" in error
    assert len(lines) == 2 + list(FLOW).index(stage) and error.endswith(
        lines[-1].split(None, 4)[-1]
    )


@pytest.mark.parametrize("stage", FLOW)
def test_a_truncated_artifact(run, audited, stage):
    path = run / FLOW[stage][0]
    path.write_bytes(path.read_bytes()[:-9])
    status, _, error = audited()
    assert (
        status == 1 and FLOW[stage][0] in error and "delete it and run the same command" in error
    )


def test_the_first_mismatch_is_the_cause(run, audited):
    for stage in ("experts", "partition", "figures"):
        flip(run / FLOW[stage][0], 10 if FLOW[stage][0].endswith("parquet") else -5)
    status, lines, error = audited()
    assert error.startswith(f"{ROOT}/partition/semantic/assignments.parquet: its checksum is ")


def test_an_input_that_was_replaced(run, audited):
    """The new file is sound and of this code; what was made from the old one is now wrong."""
    before = artifacts.check(run / FLOW["embed"][0]).sha256
    make("embed", value=3.0)
    status, lines, error = audited()
    after = artifacts.check(run / FLOW["embed"][0]).sha256
    assert status == 1 and error == (
        f"{ROOT}/{FLOW['partition'][0]}: its input {ROOT}/{FLOW['embed'][0]} (embed) has changed "
        f"since it was read (sha256 {before[:12]}, now {after[:12]}); rerun this stage"
    )


def test_an_input_that_is_gone(run, audited):
    (run / FLOW["embed"][0]).unlink()
    status, _, error = audited()
    assert status == 1 and error == (
        f"{ROOT}/{FLOW['partition'][0]}: its input {ROOT}/{FLOW['embed'][0]} (embed) is missing; "
        f"rerun the stage that makes it"
    )


def test_a_picture_that_was_altered_or_removed(run, audited):
    picture = run / "figures/quality.pdf"
    picture.write_bytes(b"another picture")
    status, _, error = audited()
    assert status == 1 and error.startswith(f"{ROOT}/figures/quality.parquet: quality.pdf was mod")
    picture.write_bytes(b"")
    assert "quality.pdf was modified" in audited()[2]
    picture.unlink()
    assert audited()[2].startswith(f"{ROOT}/figures/quality.parquet: its quality.pdf is missing")


def test_a_stray_file(run, audited):
    (run / "figures/notes.txt").write_text("by hand")
    status, _, error = audited()
    assert status == 1 and error == (
        f"{ROOT}/figures/notes.txt: not recorded by any artifact; remove it or make it by a rule"
    )
    (run / "figures/notes.txt").unlink()
    (run / "figures/quality.parquet").unlink()
    assert audited()[2].startswith(f"{ROOT}/figures/quality.pdf: not recorded by any artifact")


def test_a_foreign_table_is_no_artifact(run, audited):
    pd.DataFrame({"a": [1]}).to_parquet(run / "data/foreign.parquet")
    status, _, error = audited()
    assert status == 1 and "data/foreign.parquet" in error and "no readable provenance" in error


def test_logs_and_unfinished_work_are_let_be(run, audited):
    for name in ("logs/data.log", "experts/semantic/1/weights.state", "data/.x.1.tmp"):
        (run / name).parent.mkdir(exist_ok=True, parents=True)
        (run / name).write_text("x")
    assert audited()[0] == 0


@pytest.mark.parametrize("stage", ["data", "partition"])
def test_other_code(run, audited, monkeypatch, stage):
    real = code_digest.closure

    def edited(name):
        return real(name) | ({f"routing/{stage}.py": "0" * 16} if name == stage else {})

    monkeypatch.setattr(code_digest, "closure", edited)
    status, _, error = audited()
    assert status == 1 and error == (
        f"{ROOT}/{FLOW[stage][0]}: made by other code: routing/{stage}.py differ from the code "
        f"that stage {stage} ran; rerun it (`snakemake -n` lists what follows)"
    )


def test_nothing_to_audit(tmp_path, monkeypatch, audited):
    monkeypatch.chdir(tmp_path)
    assert audited() == (1, [], f"nothing to audit under {ROOT}; run `snakemake figures` first")


# Leftovers: what no rule can make with this config.

OUTPUTS = [
    rf"{ROOT}/probe/(?P<partition>semantic|other)/gram\.safetensors$",
    rf"{ROOT}/data/samples\.safetensors$",
    rf"{ROOT}/embed/(?P<encoder>pca)/features\.safetensors$",
    rf"{ROOT}/partition/(?P<partition>semantic|other)/assignments\.parquet$",
    rf"{ROOT}/experts/semantic/(?:0|1)/weights\.safetensors$",
    rf"{ROOT}/figures/(?P<figure>quality)\.parquet$",
]


def leftover(stage, name):
    """An artifact of a name that the config does not have, made by a stage of the run."""
    path = Path(ROOT) / name
    outputs = {"made": path}
    if stage == "figures":
        outputs["pdf"] = path.with_suffix(".pdf")
    with Job(stage, {"data": [Path(ROOT) / FLOW["data"][0]]}, outputs, {}) as job:
        if "pdf" in outputs:
            job.write_bytes("pdf", b"a picture")
        job.write_table("made", pd.DataFrame({"value": [1.0]}))


def audit_outputs(capsys, outputs=OUTPUTS):
    capsys.readouterr()
    status = main(["audit", "--spec", json.dumps({"root": ROOT, "outputs": outputs})])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def test_leftovers_of_another_config_are_named_and_no_error(run, capsys):
    leftover("samples", "samples/gone/0/a.parquet")
    leftover("samples", "samples/gone/1/a.parquet")
    leftover("figures", "figures/gone.parquet")
    leftover("partition", "partition/gone one/assignments.parquet")
    make("data", value=5.0)  # what the leftovers were made from
    for stage in ("embed", "partition", "experts", "figures"):
        make(stage)
    status, lines, _ = audit_outputs(capsys)
    assert status == 0 and lines[-2] == (
        f"audit: 6 files of {ROOT}: checksums, inputs and code agree"
    )
    assert lines[-1] == (
        f"audit: 5 files are not part of this config; remove them with `rm -r "
        f"{ROOT}/figures/gone.parquet {ROOT}/figures/gone.pdf '{ROOT}/partition/gone one' "
        f"{ROOT}/samples`, or restore the config that made them"
    )
    named = [line for line in lines if line.endswith("  not part of this config")]
    assert len(named) == 4
    command = lines[-1].split("`")[1]
    assert subprocess.run(command, shell=True).returncode == 0
    status, lines, _ = audit_outputs(capsys)
    assert status == 0 and len(lines) == 7 and lines[-1].startswith("audit: 6 files")


def test_what_is_part_of_the_config_is_still_checked(run, capsys):
    leftover("samples", "samples/gone/0/a.parquet")
    make("data", value=5.0)
    status, _, error = audit_outputs(capsys)
    assert status == 1 and f"{ROOT}/{FLOW['embed'][0]}: its input" in error
    for stage in ("embed", "partition", "experts", "figures"):
        make(stage)
    (run / "samples/gone/notes.txt").write_text("by hand")
    status, _, error = audit_outputs(capsys)
    assert status == 1 and "samples/gone/notes.txt: not recorded by any artifact" in error


def test_files_of_unfinished_work_keep_their_folder(run, capsys):
    leftover("samples", "samples/gone/0/a.parquet")
    (run / "samples/gone/1").mkdir()
    (run / "samples/gone/1/weights.state").write_text("x")
    assert f"`rm -r {ROOT}/samples/gone/0`" in audit_outputs(capsys)[1][-1]


# Strangers: what Snakemake has no record of and other code made.


@pytest.fixture
def edited(run, monkeypatch):
    """The run, after an edit that partition, experts and figures can see."""
    real = code_digest.closure

    def closure(name):
        can_see = name in ("partition", "experts", "figures")
        return real(name) | ({"routing/workflow/seeds.py": "0" * 16} if can_see else {})

    monkeypatch.setattr(code_digest, "closure", closure)
    return run


def record(*stages):
    """What Snakemake notes of the files it has made."""
    for stage in stages:
        name = base64.urlsafe_b64encode(f"{ROOT}/{FLOW[stage][0]}".encode()).decode()
        (audit.SNAKEMAKE_RECORDS / name).parent.mkdir(parents=True, exist_ok=True)
        (audit.SNAKEMAKE_RECORDS / name).write_text("{}")


def test_artifacts_of_this_code_are_no_strangers(run):
    assert audit.unrecorded_artifacts(Path(ROOT)) is None
    assert audit.unrecorded_artifacts(Path("results/none")) is None


def test_strangers_are_named_in_the_order_of_the_data(edited):
    line = audit.unrecorded_artifacts(Path(ROOT))
    commit = artifacts.read_provenance(edited / FLOW["partition"][0])["commit"][:8]
    assert line == (
        f"{ROOT} was made by other code, e.g. {ROOT}/{FLOW['partition'][0]} (commit {commit}): "
        f"routing/workflow/seeds.py differs; remake what differs with `snakemake figures "
        f"--forcerun partition experts figure table`, or give this run another name"
    )


def test_what_snakemake_made_is_left_to_snakemake(edited):
    record("partition", "experts")
    assert "--forcerun figure table`" in audit.unrecorded_artifacts(Path(ROOT))
    record("figures")
    assert audit.unrecorded_artifacts(Path(ROOT)) is None


@pytest.mark.parametrize("length", [1, 170, 171, 172, 300])
def test_records_are_found_where_snakemake_keeps_them(tmp_path, monkeypatch, length):
    """The names of its own persistence. Of a path too long for one name we believe the best."""
    monkeypatch.chdir(tmp_path)
    audit.SNAKEMAKE_RECORDS.mkdir(parents=True)
    path = f"{ROOT}/{'x' * length}.parquet"
    keeper = FilePersistence.__new__(FilePersistence)  # without its folders and locks
    keeper._max_len = None
    where = Path(keeper._record_path(str(audit.SNAKEMAKE_RECORDS), path))
    is_one_name = where.parent == audit.SNAKEMAKE_RECORDS
    assert audit._recorded(Path(path)) == (not is_one_name)
    where.parent.mkdir(exist_ok=True, parents=True)
    where.write_text("{}")
    assert audit._recorded(Path(path))


def test_a_damaged_stranger_is_one_line(edited):
    path = edited / FLOW["partition"][0]
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="assignments.parquet is damaged"):
        audit.unrecorded_artifacts(Path(ROOT))


def test_an_audit_reads_every_file_once(run, monkeypatch):
    read, real = [], artifacts.check
    monkeypatch.setattr(artifacts, "check", lambda path: read.append(path) or real(path))
    assert main(["audit", "--spec", f'{{"root": "{ROOT}"}}']) == 0
    assert len(read) == len(set(read)) == 6


def test_a_copied_run_is_still_a_run_of_its_inputs(run, audited):
    """Paths are as recorded: a copy under another name vouches for the files it was made from."""
    shutil.copytree(run, run.with_name("copy"))
    assert audited("results/copy")[0] == 0
    flip(run / FLOW["data"][0], -5)
    assert "results/copy" in audited("results/copy")[2]
