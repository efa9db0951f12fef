"""The workflow on a cluster: the same run through sbatch, a job per stage."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from routing import store

pytest_plugins = ["workplace"]

FAKES = Path(__file__).resolve().parent / "fake_slurm"

QUICK = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1")


@pytest.fixture(scope="session")
def slurm_run(checkout, clone, oracle_run):
    """The oracle world by the fake commands of tests/fake_slurm, which run jobs here."""
    place = clone(checkout, oracle_run.config)
    state = place.folder / "fake"
    state.mkdir()
    path = os.pathsep.join([str(FAKES), place.command()["env"]["PATH"]])
    place.make("figures", *QUICK, FAKE_SLURM=str(state), PATH=path)
    return place


def test_another_folder_and_another_engine_give_the_same(oracle_run, slurm_run):
    mine, other = slurm_run.contents(), oracle_run.contents()
    bills = {name for name in mine if "/bill-" in name}
    assert len(bills) == 2
    assert {n for n in mine.keys() | other.keys() if mine.get(n) != other.get(n)} <= bills
    for name in bills:  # seconds are measured, all else is the same
        table, same = (store.read_table(place.path(name)) for place in (slurm_run, oracle_run))
        assert table.drop(columns="seconds").equals(same.drop(columns="seconds"))
    for name in ("metrics/metrics.parquet", "metrics/differences.parquet"):
        table, other = (store.read_table(place.path(name)) for place in (oracle_run, slurm_run))
        assert len(table) and table.equals(other)


def test_every_job_asks_the_cluster_for_what_it_needs(slurm_run):
    calls = (slurm_run.folder / "fake" / "sbatch.log").read_text().splitlines()
    assert len(calls) == 12  # every job but the local target rule
    for call in calls:
        words = shlex.split(call.split("--wrap=")[0])
        options = dict(zip(words, words[1:], strict=False))
        assert options["--mem"] == "4000" and options["-t"] == "60"
        assert "--cpus-per-task=1" in words
        assert options["--job-name"].startswith("routing")


def test_nothing_is_left_to_do_for_the_laptop(slurm_run):
    assert slurm_run.plan() == set()


def cluster_answers():
    if not shutil.which("sbatch") or not shutil.which("sinfo"):
        return False
    done = subprocess.run(["sinfo", "-h", "-o", "%P"], capture_output=True, text=True)
    return done.returncode == 0 and bool(done.stdout.strip())


@pytest.mark.skipif(not cluster_answers(), reason="no Slurm cluster answers here")
def test_a_real_cluster_runs_the_chain(checkout, clone, oracle_run):
    place = clone(checkout, oracle_run.config)
    place.make("results/tiny/embed/plane/features.safetensors", *QUICK)
    assert place.contents().items() <= oracle_run.contents().items()
