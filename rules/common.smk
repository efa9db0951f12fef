"""What several rule files share: the config, names of files, checks before a run. No rules."""

import fcntl
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from routing.config import cache as _config
from routing.config import file_keys as _file_keys
from routing.stages import audit as _audit
from routing.workflow import code_digest as _code
from routing.workflow import temporary_files as _temporary_files


def exit_with(line):
    """End Snakemake with this one line and without the traceback of an exception."""
    sys.exit(" ".join(str(line).split()))


def _resolved(raw):
    try:
        for path in workflow.configfiles:
            _file_keys.check_keys(Path(path))
        return _config.resolved(raw)
    except ValueError as error:
        exit_with(f"config: {error}")


SPEC = _resolved(config)  # the config with every default written out
PLAN = SPEC["plan"]  # what follows from it: see routing/config/
RUN = SPEC["run"]
R = f"results/{RUN}"
NUM_SHARDS = SPEC["samples"]["num_samples"] // SPEC["samples"]["shard_size"]
NUM_PROBE_SHARDS = SPEC["probe"]["num_states"] // SPEC["probe"]["shard_size"]
TRAINING_SEEDS = range(SPEC["num_training_seeds"])
DATA_SHARDS = [f"{i:05d}" for i in range(SPEC["data"]["num_shards"])]
DATA = f"{R}/data/{PLAN['image_rule']}"  # named after the rule that crops and resizes images
INDEX = f"{R}/index/index.parquet"
IMAGES = [f"{DATA}/samples-{i}.safetensors" for i in DATA_SHARDS]
# The samples that experts and routers are trained on: the images, or their latents.
VALUES = (
    [f"{R}/latents/samples-{i}.safetensors" for i in DATA_SHARDS]
    if SPEC["autoencoder"]
    else IMAGES
)
HELDOUT = "heldout"  # the held-out real images, measured as one more arm
SAMPLE_SETS = [HELDOUT, *SPEC["arms"]]
METRICS = SPEC["metrics"]["list"]
FEATURE_SPACES = PLAN["feature_spaces"]  # the feature spaces of all metrics
SHARES_PARTITION = f"{R}/partition/{SPEC['metrics']['shares_partition']}"
SHARES_FEATURE_SPACE = SPEC["partitions"][SPEC["metrics"]["shares_partition"]][
    "encoder"
]


def _unrecorded():
    try:
        return _audit.unrecorded_artifacts(Path(R))
    except ValueError as error:
        return error


# Options of Snakemake, and the audit, with which unrecorded artifacts are no error.
FORCED = {"--forceall", "-F", "--forcerun", "-R", "--touch", "-t", "audit"}
if workflow.is_main_process and not FORCED & set(sys.argv) and (line := _unrecorded()):
    exit_with(line)


def lock_working_directory():
    """End Snakemake if another run works in this directory.

    Snakemake's own lock survives a killed process and must then be removed by hand. This lock
    is released when its process ends, so that the same command continues the run.
    """
    global LOCK_FILE
    LOCK_FILE = open(".snakemake/routing.lock", "w")
    try:
        fcntl.flock(LOCK_FILE, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        exit_with(
            f"another snakemake runs in {Path.cwd()}; wait until it ends, or stop it"
        )


def remove_temporary_files():
    """Remove what killed jobs of earlier runs on this host have left in the folder of the run."""
    _temporary_files.remove_abandoned(Path(R))


def remove_local_job_rate_limit():
    """Start local jobs without a limit per second.

    To enforce the limit, Snakemake 9.27 checks all ready jobs every second, once for each
    finished job: half a core after 200 jobs.
    """
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


def one_of(names):
    """A regular expression that matches these names and nothing else."""
    return "|".join(names) or "(?!x)x"


wildcard_constraints:
    partition=one_of(SPEC["partitions"]),
    encoder=one_of(SPEC["encoders"]),
    text_encoder=one_of([SPEC["text_encoder"]["name"]]),
    router=one_of(SPEC["routers"]),
    arm=one_of(SPEC["arms"]),
    feature_space=one_of([*SPEC["classifiers"], *SPEC["encoders"]]),
    classifier=one_of(SPEC["classifiers"]),
    sample_set=one_of(SAMPLE_SETS),
    training_seed=one_of(str(seed) for seed in TRAINING_SEEDS),
    cluster=r"\d+",
    shard=r"\d{5}",


def code(stage):
    """The digest of the code that `stage` imports. As a parameter of the rule it makes Snakemake
    rerun the stage after an edit."""
    return _code.stage_digest(stage)


def job_spec(**keys):
    """The part of the config that a job reads, as JSON."""
    return json.dumps({"run": RUN, "seed": SPEC["seed"], **keys})


def seed_shards():
    """The names of the shards of seeds in which an arm is sampled."""
    return [f"{i:05d}" for i in range(NUM_SHARDS)]


def arm_of(wildcards):
    """The config of the arm of this job."""
    return SPEC["arms"][wildcards.arm]


def feature_space_of(metric):
    """The feature space of a metric; None for a metric without one."""
    if "feature_space" not in metric:
        return None
    return metric["feature_space"] or SPEC["metrics"]["feature_space"]
