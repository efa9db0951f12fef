"""The one door: every stage, every wrong word, every way to end it."""

import json
import signal
import subprocess
import sys
import time

import pytest

from routing.__main__ import main
from routing.stages import data
from routing.workflow import artifacts, code_digest, progress, stage_names

SOURCE = {
    "name": "mixture",
    "weights": [1.0, 1.0],
    "means": [[0.0, 0.0], [4.0, 4.0]],
    "stds": [1.0, 1.0],
    "num_points": 20,
}
SPEC = json.dumps(
    {"run": "r", "seed": 1, "source": SOURCE, "image": None, "shard": 0, "num_shards": 1}
)


@pytest.fixture
def door(capsys):
    """Status, lines on the screen's error side, and lines on its other side."""

    def knock(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        said = capsys.readouterr()
        return status, said.err.splitlines(), said.out.splitlines()

    return knock


def outputs(folder):
    return [
        *("--out", f"samples={folder / 'samples.safetensors'}"),
        *("--out", f"rows={folder / 'rows.parquet'}"),
        *("--out", f"rejected={folder / 'rejected.parquet'}"),
    ]


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_stage_runs(door, tmp_path):
    log = tmp_path / "logs" / "deep" / "data.log"
    status, errors, lines = door("data", *outputs(tmp_path), "--spec", SPEC, "--log", log)
    assert (status, errors, lines) == (0, [], []) and log.read_text() == ""
    made = ["rejected.parquet", "rows.parquet", "samples.safetensors"]
    assert names(tmp_path) == ["data.log", *made]
    note = artifacts.read_provenance(tmp_path / "rows.parquet")
    assert note["stage"] == "data" and note["spec"] == json.loads(SPEC)
    assert len(artifacts.read_table(tmp_path / "rows.parquet")) == 20


def test_inputs_come_in_the_order_of_the_words(door, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(data, "run", lambda job: seen.update(job.inputs))
    words = ["--in", "a=x=y", "z", "--in", "none=", "--in", "b="]
    assert door("data", *words)[0] == 0
    assert {name: [str(path) for path in paths] for name, paths in seen.items()} == {
        "a": ["x=y", "z"],
        "none": [],
        "b": [],
    }


@pytest.mark.parametrize("stage", stage_names.STAGES)
def test_help_is_quick(stage, capsys):
    with pytest.raises(SystemExit) as caught:
        main([stage, "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0 and "--spec JSON" in text and "NAME=PATH" in text


def test_help_imports_nothing_slow():
    text = (
        "import sys; sys.argv = ['routing', 'samples', '--help']\n"
        "from routing.__main__ import main\n"
        "try: main()\n"
        "finally: print(*{'torch', 'numpy', 'pandas', 'pyarrow'} & sys.modules.keys(), 'end')"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "end" and done.returncode == 0, done


def test_the_module_is_the_door(tmp_path):
    """As a shell calls it: exit status and one line come through `python -m routing`."""
    command = [sys.executable, "-m", "routing", "data", *outputs(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=code_digest.PACKAGE.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "data: --spec: this job needs the key 'source'; add it\n"


@pytest.mark.parametrize("words", [["dataa"], [], ["data", "--inn", "a=b"], ["data", "--in"]])
def test_unknown_words(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    last = capsys.readouterr().err.splitlines()[-1]
    assert caught.value.code == 2 and "error: " in last
    if words == ["dataa"]:
        assert "invalid choice: 'dataa'" in last and "partition" in last


WRONG = {
    "no name": (["--in", "path"], "--in: wanted NAME=PATH, got 'path'; give every file a name"),
    "empty name": (
        ["--in", "=path"],
        "--in: wanted NAME=PATH, got '=path'; give every file a nam",
    ),
    "output": (["--out", "path"], "--out: wanted NAME=PATH, got 'path'; give every file a name"),
    "twice": (
        ["--in", "a=b", "--in", "a=c"],
        "--in a: wanted once, got twice; list all files after one a=",
    ),
    "out twice": (
        ["--out", "a=b", "--out", "a=c"],
        "--out a: wanted once, got twice; list all files",
    ),
    "two outputs": (["--out", "a=b", "c"], "--out a: wanted one path, got 2; give one"),
    "no output": (["--out", "a="], "--out a: wanted one path, got 0; give one"),
    "no JSON": (
        ["--spec", "{seed: 1}"],
        "--spec: wanted JSON, got '{seed: 1}' (Expecting property",
    ),
    "empty": (["--spec", ""], "--spec: wanted JSON, got ''"),
    "a list": (["--spec", "[1]"], "--spec: wanted a JSON object, got '[1]'; correct it"),
    "a key is missing": (["--spec", "{}"], "--spec: this job needs the key 'source'; add it"),
    "a bad choice": (
        ["--spec", '{"source": "digit"}'],
        "data.source: unknown name 'digit'; did y",
    ),
    "a file is missing": (
        ["--spec", SPEC],
        "output 'samples' has no file; add --out samples=PATH",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_command_is_one_line(door, case):
    words, expected = WRONG[case]
    status, errors, lines = door("data", *words)
    assert (status, len(errors), lines) == (1, 1, [])
    assert errors[0].startswith(f"data: {expected}")


def failing(monkeypatch, error, talk=False):
    def run(job):
        job.write_arrays("samples", {})
        if talk:
            print("working", file=sys.stderr)
        raise error

    monkeypatch.setattr(data, "run", run)


@pytest.mark.parametrize(
    "error, status, line",
    [
        (ValueError("wanted\n  this,\tgot that"), 1, "wanted this, got that"),
        (OSError(28, "No space left on device", "/a/b"), 1, "No space left on device: /a/b; no o"),
        (
            OSError(28, "No space left on device"),
            1,
            "No space left on device; no output was changed:",
        ),
        (
            PermissionError(13, "Permission denied", "/a"),
            1,
            "Permission denied: /a; no output was ",
        ),
        (
            OSError("strange"),
            1,
            "strange; no output was changed: fix it and run the command again",
        ),
        (KeyboardInterrupt(), 130, "interrupted; run the same command to resume"),
    ],
)
def test_what_ends_a_stage_is_one_line_on_the_screen_and_in_the_log(
    door, tmp_path, monkeypatch, error, status, line
):
    failing(monkeypatch, error, talk=True)
    log = tmp_path / "log"
    found, errors, _ = door("data", *outputs(tmp_path), "--log", log)
    assert found == status and len(errors) == 2
    assert errors[0] == "working" and errors[1].startswith(f"data: {line}")
    assert log.read_text().splitlines() == errors
    assert names(tmp_path) == ["log"]  # neither outputs nor temporaries


def test_a_mistake_of_ours_is_loud_and_logged(door, tmp_path, monkeypatch):
    failing(monkeypatch, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        door("data", *outputs(tmp_path), "--log", tmp_path / "log")
    text = (tmp_path / "log").read_text()
    assert text.startswith("Traceback") and "ZeroDivisionError: ours" in text
    assert names(tmp_path) == ["log"]


def test_a_log_that_cannot_be_written(door, tmp_path):
    (tmp_path / "file").write_text("")
    status, errors, _ = door("data", "--log", tmp_path / "file" / "log")
    assert status == 1 and len(errors) == 1 and str(tmp_path / "file") in errors[0]


SLEEPER = """
import pathlib, runpy, time
import numpy as np
from routing.stages import data

def run(job):
    job.write_arrays("samples", {"x": np.zeros(2)})
    print("staged", flush=True)
    time.sleep(60)

def slowly(path, missing_ok=False, unlink=pathlib.Path.unlink):
    time.sleep(0.5)  # a second signal falls in here
    unlink(path, missing_ok)

data.run, pathlib.Path.unlink = run, slowly
runpy.run_module("routing", run_name="__main__", alter_sys=True)
"""
SIGNALS = {
    "SIGINT": [signal.SIGINT],
    "SIGTERM": [signal.SIGTERM],
    "both": [signal.SIGINT, signal.SIGTERM, signal.SIGINT],
}


def test_signals_end_a_stage_in_one_line(tmp_path):
    running = {}
    for name in SIGNALS:  # side by side: most of their time they import
        command = [sys.executable, "-c", SLEEPER, "data", *outputs(tmp_path / name)]
        command += ["--log", tmp_path / f"{name}.log"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        running[name] = subprocess.Popen(command, cwd=code_digest.PACKAGE.parent, **pipes)
    for name, process in running.items():
        assert process.stdout.readline() == "staged\n", process.communicate()
        assert len(names(tmp_path / name)) == 1  # written beside its place
        for number in SIGNALS[name]:
            process.send_signal(number)
            time.sleep(0.1)
    line = "data: interrupted; run the same command to resume\n"
    for name, process in running.items():
        assert process.communicate(timeout=30) == ("", line) and process.returncode == 130
        assert names(tmp_path / name) == []
        assert (tmp_path / f"{name}.log").read_text() == line


def test_a_progress_bar_prints_its_label_the_units_and_the_time_left(monkeypatch, capsys):
    now_s = 0.0
    monkeypatch.setattr("tqdm.std.time", lambda: now_s)
    bar = progress.progress_bar("expert a/0", 100, initial=20)
    bar.set_postfix_str("loss 0.5", refresh=False)
    now_s = 1.0
    bar.update(10)
    assert capsys.readouterr().err == ""  # too early for a line
    now_s = 6.0
    bar.update(10)  # 20 units are done, 60 are left
    line = f"expert a/0 [{'#' * 9}{'-' * 15}] 40/100, 18 s left, loss 0.5\n"
    assert capsys.readouterr().err == line
    now_s = 7.0
    bar.update(10)
    now_s = 20.0
    bar.update(50)
    line = f"expert a/0 [{'#' * 24}] 100/100, 0 s left, loss 0.5\n"
    assert capsys.readouterr().err == line
    bar.close()
    assert capsys.readouterr().err == ""


def test_a_progress_bar_yields_its_items(capsys):
    assert list(progress.progress_bar("x", 3, iter("abc"))) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
