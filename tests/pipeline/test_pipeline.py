"""The workflow itself, by real Snakemake runs: the same twice, and after a change what it asks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import ROOT

from routing.workflow import artifacts, stage_names

pytest_plugins = ["clones"]

DIGITS = "tests/pipeline/tiny_digits.yaml"

ARMS, SPACES = ("full", "top1", "budget", "guided"), ("digits", "pixels_pca")
MADE = {
    "data": {"data: read shard 00000 of the source"},
    "index": {"index: join the rows of all shards"},
    "fit_encoder": {"fit_encoder: fit pixels_pca"},
    "embed": {"embed: encoder pixels_pca, shard 00000"},
    "partition": {"partition: compute halves"},
    "experts": {f"experts: train expert {k} of partition halves, training seed 0" for k in (0, 1)},
    "probe": {"probe: evaluate the experts of partition halves, training seed 0, shard 00000"},
    "router": {
        f"router: train {name} for partition halves, training seed 0"
        for name in ("learned", "velocity")
    },
    "samples": {f"samples: arm {arm}, training seed 0, shard 00000" for arm in ARMS},
    "classifier": {"classifier: train the classifier digits"},
    "real": {"sample_features: the real images in digits, shard 00000"},  # of an encoder: embed
    "sample_features": {
        f"sample_features: arm {arm} in {space}" for arm in ARMS for space in SPACES
    },
    "reference_statistics": {
        f"reference_statistics: the real images in {space}" for space in SPACES
    },
    "unseen": {"arm_metrics: arm heldout against the real images"},
    "arm_metrics": {f"arm_metrics: arm {arm} against the real images" for arm in ARMS},
    "metric_tables": {"metric_tables: compare all arms"},
    "figures": {"figures: draw quality"},
}
ENDS = MADE["metric_tables"] | MADE["figures"]
SAMPLED = MADE["samples"] | MADE["sample_features"] | MADE["arm_metrics"] | ENDS
MEASURED = MADE["reference_statistics"] | MADE["unseen"]
ALL = set().union(*MADE.values())


def of_arm(arm):
    drawn = f"samples: arm {arm}, training seed 0, shard 00000"
    scored = f"arm_metrics: arm {arm} against the real images"
    return {drawn, scored} | {f"sample_features: arm {arm} in {s}" for s in SPACES}


ROUTED = MADE["router"] | of_arm("full") | of_arm("budget") | ENDS  # by a router that is trained
TRAINED = MADE["experts"] | MADE["probe"] | MADE["router"]
DIVIDED = MADE["partition"] | TRAINED | SAMPLED | MEASURED


def look_at(place):
    """Touch every module, and edit what Python does not run."""
    for path in (place.folder / "routing").rglob("*.py"):
        os.utime(path)
    place.append("routing/training/loop.py", "\n# a comment\n")
    place.edit("routing/workflow/artifacts.py", '"""The sha256 of ', '"""The checksum of ')


def append(name, text):
    return lambda place: place.append(name, text)


def edit(name, old, new):
    return lambda place: place.edit(name, old, new)


ARM = "{partition: halves, router: learned, policy: full, sampler: heun}"
CHANGES = {  # what is changed: (how, the jobs that follow)
    "touch, comment, docstring": (look_at, set()),
    "a policy's code": (append("routing/ensemble/policies/nucleus.py", "\nEDITED = 1\n"), SAMPLED),
    "a metric's code": (
        append("routing/metrics/formulas/frechet_distance.py", "\nEDITED = 1\n"),
        MEASURED | MADE["arm_metrics"] | ENDS,
    ),
    "the code of a router that is not trained": (
        append("routing/ensemble/routers/density.py", "\nEDITED = 1\n"),
        SAMPLED,
    ),
    # What is remade has another time, and all that was made of it follows, whatever is in it.
    "a source's code, be it of another source": (
        append("routing/data/sources/parquet.py", "\nEDITED = 1\n"),
        ALL,
    ),
    "a partition method's code": (
        append("routing/partitions/labels.py", "\nEDITED = 1\n"),
        DIVIDED,
    ),
    "an option of the encoder": (
        edit(DIGITS, "dim: 8", "dim: 9"),
        ALL - MADE["data"] - MADE["index"] - MADE["classifier"] - MADE["real"],
    ),
    "the code of another kind of encoder": (
        append("routing/pretrained/image_networks/clip.py", "\nEDITED = 1\n"),
        ALL - MADE["data"] - MADE["index"] - MADE["classifier"],
    ),
    "the share that is held out": (
        edit(DIGITS, "heldout_fraction: 0.2", "heldout_fraction: 0.3"),
        ALL - MADE["data"],
    ),
    "how much may be rejected": (
        edit(
            DIGITS, "heldout_fraction: 0.2", "heldout_fraction: 0.2\n  max_rejected_fraction: 0.5"
        ),
        ALL - MADE["data"],
    ),
    "what captions become, where nobody is told them": (
        edit(DIGITS, "seed: 7", "seed: 7\ntext_encoder: sentence"),
        set(),
    ),
    "an objective's code": (
        append("routing/ensemble/objectives/velocity.py", "\nEDITED = 1\n"),
        ROUTED,
    ),
    "an option of a router": (
        edit(DIGITS, "objective: velocity", "objective: {name: velocity_topk, max_k: 2}"),
        {line for line in MADE["router"] if "velocity" in line} | of_arm("budget") | ENDS,
    ),
    "where a router starts": (
        edit(
            DIGITS,
            "&small {name: learned, objective: cluster",
            "&small {name: learned, objective: soft_cluster",
        ),
        ROUTED,
    ),
    "an option of the probe": (
        edit(DIGITS, "num_states: 800", "calibration_fraction: 0.3, num_states: 800"),
        MADE["probe"] | ROUTED,
    ),
    "a guidance": (edit(DIGITS, "scale: 2.0", "scale: 3.0"), of_arm("guided") | ENDS),
    "another training": (
        edit(DIGITS, "seed: 7", "seed: 7\nnum_training_seeds: 2"),
        {line.replace("training seed 0", "training seed 1") for line in TRAINED | MADE["samples"]}
        | MADE["sample_features"]
        | MADE["unseen"]
        | MADE["arm_metrics"]
        | ENDS,
    ),
    "an option of one arm": (edit(DIGITS, "k: 1}", "k: 2}"), of_arm("top1") | ENDS),
    "one more arm": (edit(DIGITS, "arms:", f"arms:\n  again: {ARM}"), of_arm("again") | ENDS),
    "an option of the experts": (
        edit(DIGITS, "steps: 300", "steps: 301"),
        TRAINED | SAMPLED,
    ),
    "the environment": (append("envs/requirements.txt", "more==1.0\n"), ALL),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_remakes_what_can_see_it_and_nothing_else(change, digits_run, clone):
    change_files, jobs = CHANGES[change]
    place = clone(digits_run)
    change_files(place)
    assert place.plan() == jobs


def test_the_second_run_has_nothing_to_do_and_the_audit_passes(digits_run):
    assert digits_run.make("figures").lines("Nothing to be done")
    verdict = digits_run.make("audit")
    assert verdict.lines("checksums, inputs and code agree")
    assert len(verdict.lines("  ok")) == len(digits_run.contents())


@pytest.mark.slow
def test_the_same_twice_in_two_folders(oracle_run, checkout, clone):
    again = clone(checkout, oracle_run.config)
    again.make("figures")
    one, two = oracle_run.contents(), again.contents()
    costs = {name for name in one if "/cost-" in name}
    assert len(costs) == 2
    assert {n for n in one.keys() | two.keys() if one.get(n) != two.get(n)} <= costs
    for name in costs:  # seconds are measured, all else is the same
        table, same = (artifacts.read_table(p.path(name)) for p in (oracle_run, again))
        assert table.drop(columns="seconds").equals(same.drop(columns="seconds"))
    for name in ("metrics", "differences"):
        table, same = (
            artifacts.read_table(p.path(f"metric_tables/{name}.parquet"))
            for p in (oracle_run, again)
        )
        assert len(table) and table.equals(same)


def test_every_stage_leaves_artifacts(oracle_run, digits_run):
    stages = {name.split("/")[0] for name in digits_run.contents()}
    assert stages == set(stage_names.STAGES) - {
        "audit",
        "latents",
        "text_embeddings",
        "clip_score_captions",
        "lpips",
    }
    untrained = stages - {"probe", "router", "classifier"}
    assert {name.split("/")[0] for name in oracle_run.contents()} == untrained
    for name in ("quality.pdf", "quality.png"):
        assert oracle_run.path(f"figures/{name}").stat().st_size > 1000


@pytest.mark.slow
def test_two_shards_are_as_one(digits_run, clone, checkout):
    """The same index, partition and expert, bit for bit, wherever the rows are stored."""
    place = clone(checkout, DIGITS)
    place.edit(DIGITS, "heldout_fraction: 0.2", "heldout_fraction: 0.2\n  num_shards: 2")
    place.make("results/tiny/experts/halves/0/0/weights.safetensors")
    two, one = place.contents(), digits_run.contents()
    parts = ("fit_encoder/", "partition/", "experts/")
    same = {name for name in two if name.startswith(parts)}
    assert len(same) == 6 and {name: two[name] for name in same} == {n: one[n] for n in same}
    indices = [artifacts.read_table(p.path("index/index.parquet")) for p in (place, digits_run)]
    stored = [index[["shard", "row"]].to_numpy() for index in indices]
    assert stored[0].max(axis=0).tolist() == [1, 898] and stored[1].max(axis=0)[0] == 0
    assert (
        indices[0].drop(columns=["shard", "row"]).equals(indices[1].drop(columns=["shard", "row"]))
    )


@pytest.mark.slow
def test_the_batch_size_changes_no_sample_and_no_decision(digits_run, clone):
    place = clone(digits_run)
    place.edit(DIGITS, "batch_size: 32\n", "batch_size: 5\n")
    names = ("samples", "trace")
    files = {a: [f"samples/{a}/0/{n}-00000.safetensors" for n in names] for a in ARMS}
    done = place.make(*(f"results/tiny/{name}" for names in files.values() for name in names))
    assert {line for line in MADE["samples"] if done.lines(line)} == MADE["samples"]
    for arm, (samples, trace) in files.items():
        new, old = (artifacts.read_arrays(p.path(samples)) for p in (place, digits_run))
        assert np.array_equal(new["seeds"], old["seeds"])
        np.testing.assert_allclose(new["samples"], old["samples"], atol=1e-5)
        new, old = (artifacts.read_arrays(p.path(trace))["weights"] for p in (place, digits_run))
        np.testing.assert_allclose(new, old, atol=0 if arm == "top1" else 1e-5)
        assert np.ptp(old[..., 0]) > (0.9 if arm == "top1" else 0)  # there was a choice


@pytest.fixture(scope="session")
def fresh(checkout, clone):
    return clone(checkout)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["-n", "--profile slurm -n", "figures -n"])
def test_the_literal_commands_run_in_a_fresh_checkout(words, fresh):
    done = fresh.make(*words.split())
    assert done.lines("Job stats:") and done.lines("This was a dry-run")
    assert ("Using profiles slurm" in done.text) == ("slurm" in words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_experiment_has_a_plan(path, fresh):
    done = fresh.make("-n", "--quiet", "rules", "--configfile", f"experiments/{path.name}")
    assert not done.lines("Nothing to be done")


def test_the_link_to_the_slurm_profile_is_committed_as_a_link():
    assert os.readlink(ROOT / "slurm") == "profiles/slurm"
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout")
    words = ["git", "-C", str(ROOT), "ls-files", "-s", "slurm"]
    assert subprocess.run(words, capture_output=True, text=True).stdout.startswith("120000 ")


def test_lint_and_format_are_clean(checkout):
    # Input functions stand beside their rule on purpose; the linter wants them in a file apart.
    complaints = re.findall(r"^    \* (.*):$", checkout.snakemake("--lint").text, re.MULTILINE)
    assert set(complaints) == {"Mixed rules and functions in same snakefile."}
    snakefmt = Path(sys.executable).with_name("snakefmt")
    words = [snakefmt, "--check", "Snakefile", "rules"]
    done = subprocess.run(words, cwd=checkout.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def blocks():
    """The text of every rule by its name."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    parts = re.split(r"^rule (\w+):\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("rule", blocks())
def test_every_rule_names_its_stage_its_code_its_log_and_its_software(rule):
    text = blocks()[rule]
    (stage,) = re.findall(r"python -m routing (\w+)", text)
    assert rule in stage_names.rules(stage)
    assert f'code=code("{stage}"),' in text
    assert text.count("{log}") == 1 and "--spec {params.spec:q}" in text
    for directive in ("log", "conda", "message", "threads", "params", "shell"):
        assert re.search(rf"^    {directive}:", text, re.MULTILINE), directive
    for kind in ("input", "output"):
        passed = set(re.findall(rf"\{{{kind}\.(\w+)\}}", text))
        section = re.search(rf"^    {kind}:\n((?:        .*\n)+)", text, re.MULTILINE)
        named = set(re.findall(r"^        (\w+)=", section[1], re.MULTILINE)) if section else set()
        assert passed == named, f"{kind}s of {rule}: the command and the rule differ"


def test_every_stage_has_its_rules():
    assert {rule for stage in stage_names.STAGES for rule in stage_names.rules(stage)} == set(
        blocks()
    )
