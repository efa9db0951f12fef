"""What may go wrong in a run: a kill, Ctrl-C, a bad config, a damaged file, other code."""

import fcntl
import os
import re
import shutil
import signal
import subprocess

import pytest

from routing.workflow import temporary_files

pytest_plugins = ["clones"]

EXPERT = "experts/halves/0/0"


@pytest.mark.slow
def test_a_killed_and_an_interrupted_training_go_on_and_end_as_if_unbroken(digits_run, clone):
    place = clone(digits_run)
    place.edit("routing/training/loop.py", "SAVE_EVERY_S = 20.0", "SAVE_EVERY_S = 0.1")
    step = "_step(state, loss, schedule, training_id)"
    place.edit("routing/training/loop.py", f"        {step}", f"        {step}; time.sleep(0.01)")
    place.edit("routing/workflow/progress.py", "INTERVAL_S = 5.0", "INTERVAL_S = 1e-9")
    command = f"results/tiny/{EXPERT}/weights.safetensors"
    state = place.path(f"{EXPERT}/weights.state")
    killed = place.broken_off(signal.SIGKILL, state, command)
    assert killed.status == -signal.SIGKILL and first_step(place) == 1
    for left in place.path(EXPERT).glob(".*.tmp"):
        left.unlink()  # of a kill in the middle of a write; the next run would remove it
    interrupted = place.broken_off(signal.SIGINT, state, command)
    assert interrupted.status not in (0, -signal.SIGKILL)
    went_on = first_step(place)
    assert went_on > 1
    assert state in place.path(EXPERT).iterdir()
    assert not [path for path in place.path(EXPERT).iterdir() if path != state]  # no half files
    place.make(command)
    assert first_step(place) > went_on and not state.exists()
    assert place.contents() == digits_run.contents()


def first_step(place):
    """The first step that the last training did."""
    log = place.path("logs/experts/halves-0-0.log").read_text()
    return int(re.search(r"(\d+)/300,", log)[1])


def test_a_second_run_in_the_same_folder_is_refused(oracle_run, clone):
    place = clone(oracle_run)
    place.path("figures/quality.pdf").unlink()
    with open(place.folder / ".snakemake" / "routing.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = place.snakemake("figures")
    assert done.status != 0 and len(done.lines("another snakemake runs in")) == 1
    assert not place.path("figures/quality.pdf").exists()


BAD = {  # name: (what is mended into the config, the words of the line)
    "a misspelt key": (("shard_size: 16", "shard_sise: 16"), ["samples", "shard_size"]),
    "k above K": (
        ("each_step: {name: sample_each_step}", "each_step: {name: top_k, k: 3}"),
        ["arms.each_step", "3", "components"],
    ),
    "a policy twice": (
        ("each_step: {name: sample_each_step}", "each_step: {name: full}\n  each_step: full"),
        ["policies.each_step", ".yaml:", "every key once"],
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_config_is_one_line_and_costs_no_artifact(fault, oracle_run, clone):
    place = clone(oracle_run)
    (old, new), words = BAD[fault]
    place.edit(place.config, old, new)
    done = place.snakemake("figures")
    (line,) = done.lines("config: ")
    assert done.status != 0 and all(word in line for word in words), line
    assert "Traceback" not in done.text and len(done.text.splitlines()) <= 2, done.text
    assert place.contents() == oracle_run.contents()


def flipped(data):
    """One bit of the data is altered."""
    return data[:-1] + bytes([data[-1] ^ 1])


def cut(data):
    """The last bytes are lost."""
    return data[:-10]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, spoilt, maker",
    [
        ("sample_features/plane/full.safetensors", flipped, "sample_features: arm full in plane"),
        ("index/index.parquet", cut, "index: join the rows of all shards"),
    ],
)
def test_a_damaged_input_stops_its_reader_with_one_line(name, spoilt, maker, oracle_run, clone):
    place = clone(oracle_run)
    for folder in ("metric_tables", "arm_metrics/full"):
        shutil.rmtree(place.path(folder))
    path = place.path(name)
    time_ns = path.stat().st_mtime_ns
    path.write_bytes(spoilt(path.read_bytes()))
    os.utime(path, ns=(time_ns, time_ns))  # a disk that errs does not say so
    before = place.files()
    done = place.snakemake("metric_tables")
    (line,) = done.lines("is damaged")
    assert done.status != 0 and f"results/tiny/{name}" in line and "delete it" in line
    assert "Traceback" not in done.text
    assert place.files() == before
    path.unlink()  # as the line says
    assert maker in place.plan("metric_tables")


@pytest.mark.slow
def test_results_of_other_code_are_refused_and_the_offered_command_mends_them(oracle_run, clone):
    place = clone(oracle_run)
    shutil.rmtree(place.folder / ".snakemake")
    assert place.plan() == set()  # the same code: welcome
    place.append("routing/metrics/formulas/energy_distance.py", "\nEDITED = 1\n")
    refused = place.snakemake("figures")
    (line,) = refused.lines("was made by other code")
    assert refused.status != 0 and "routing/metrics/formulas/energy_distance.py differs" in line
    assert len(refused.text.splitlines()) <= 2, refused.text
    (offer,) = re.findall(r"`snakemake (.*?)`", line)
    # Figures look up directions and ranges in the table of metrics.
    assert offer == "figures --forcerun reference_statistics arm_metrics figure table"
    place.make(*offer.split())
    assert place.contents() == oracle_run.contents()
    assert place.plan() == set()
    assert place.make("audit").lines("checksums, inputs and code agree")


@pytest.mark.slow
def test_files_of_an_arm_that_was_removed_are_no_error_of_the_audit(oracle_run, clone):
    place = clone(oracle_run)
    assert not place.make("audit").lines("not part of this config")
    line = (
        "  each_step: {partition: components, router: exact, policy: each_step, sampler: euler}\n"
    )
    place.edit(place.config, line, "")
    ended = subprocess.Popen(["true"])
    ended.wait()
    abandoned = place.path(f"samples/.made.{temporary_files.HOST}.{ended.pid}.tmp")
    abandoned.write_text("of a killed job")
    (line,) = place.make("audit").lines("are not part of this config")
    assert not abandoned.exists()
    removed = ("arm_metrics/each_step", "sample_features/plane/each_step.safetensors")
    paths = " ".join(f"results/tiny/{name}" for name in (*removed, "samples/each_step"))
    assert f"`rm -r {paths}`" in line


def test_a_truncated_stranger_is_one_line_too(digits_run, clone):
    place = clone(digits_run)
    shutil.rmtree(place.folder / ".snakemake" / "metadata")
    place.path("index/index.parquet").write_bytes(b"PAR1")
    done = place.snakemake("figures", "-n")
    assert done.status != 0 and len(done.lines("index/index.parquet is damaged")) == 1
    assert "Traceback" not in done.text and len(done.text.splitlines()) <= 2, done.text
