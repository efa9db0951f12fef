"""Names, checks and the parts of the config that jobs may see; no rules."""

import fcntl
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from routing import audit as _audit
from routing import code as _code
from routing import config as _config


def refuse(line):
    """End with this one line; an exception would bring the lines of this file with it."""
    sys.exit(" ".join(str(line).split()))


def _resolved(raw):
    try:
        return _config.resolved(raw)
    except ValueError as error:
        refuse(f"config: {error}")


SPEC = _resolved(config)
PLAN = SPEC["plan"]
RUN = SPEC["run"]
R = f"results/{RUN}"
NUM_SHARDS = SPEC["samples"]["num_samples"] // SPEC["samples"]["shard_size"]


def _strangers():
    try:
        return _audit.strangers(Path(R))
    except ValueError as error:
        return error


FORCED = {"--forceall", "-F", "--forcerun", "-R", "--touch", "-t", "audit"}
if workflow.is_main_process and not FORCED & set(sys.argv) and (line := _strangers()):
    refuse(line)


def hold_folder():
    """Refuse a second run in this folder. Snakemake's own lock outlives a killed process; this
    one goes with it, so that the same command goes on."""
    global HOLD
    HOLD = open(".snakemake/routing.lock", "w")
    try:
        fcntl.flock(HOLD, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        refuse(f"another snakemake is at work in {Path.cwd()}; wait for it or end it")


def one_of(names):
    """A pattern that matches exactly these names (nothing, if there are none)."""
    return "|".join(names) or "(?!x)x"


wildcard_constraints:
    partition=one_of(SPEC["partitions"]),
    encoder=one_of(SPEC["encoders"]),
    router=one_of(SPEC["routers"]),
    arm=one_of(SPEC["arms"]),
    space=one_of([*SPEC["extractors"], *SPEC["encoders"]]),
    extractor=one_of(SPEC["extractors"]),
    cluster=r"\d+",
    shard=r"\d{5}",


def code(stage):
    """Digest of all code that `stage` can see; a parameter of its rule, so that edits rerun it."""
    return _code.code_digest(stage)


def part(**keys):
    """The part of the config that a job may see, as one JSON text, in the config's order."""
    return json.dumps({"run": RUN, "seed": SPEC["seed"], **keys})


def shards():
    """The numbers of the sample shards."""
    return [f"{i:05d}" for i in range(NUM_SHARDS)]


def arm_of(wildcards):
    """The config of the arm of this job."""
    return SPEC["arms"][wildcards.arm]


def partition_features(wildcards):
    """The features in which this partition is made."""
    encoder = SPEC["partitions"][wildcards.partition]["encoder"]
    return f"{R}/embed/{encoder}/features.safetensors"


def partition_like(wildcards):
    """The partition whose sizes this one copies, if it copies any."""
    like = SPEC["partitions"][wildcards.partition]["method"].get("like")
    return [f"{R}/partition/{like}/assignments.parquet"] if like else []


def partition_spec(wildcards):
    """What the job may see."""
    return part(
        partition=wildcards.partition,
        method=SPEC["partitions"][wildcards.partition]["method"],
        num_clusters=PLAN["num_experts"][wildcards.partition],
    )


def expert_spec(wildcards):
    """What the job may see."""
    return part(
        expert=SPEC["experts"],
        partition=wildcards.partition,
        cluster=int(wildcards.cluster),
        num_experts=PLAN["num_experts"][wildcards.partition],
    )


def router_spec(wildcards):
    """What the job may see."""
    return part(
        router_name=wildcards.router,
        router=SPEC["routers"][wildcards.router],
        partition=wildcards.partition,
        num_experts=PLAN["num_experts"][wildcards.partition],
    )


def arm_experts(wildcards):
    """The weights of all experts of the arm's partition."""
    partition = arm_of(wildcards)["partition"]
    num = PLAN["num_experts"][partition]
    return [f"{R}/experts/{partition}/{k}/weights.safetensors" for k in range(num)]


def arm_router(wildcards):
    """The weights of the arm's router, if it is a learned one."""
    arm = arm_of(wildcards)
    if arm["router"] not in PLAN["learned"]:
        return []
    return [f"{R}/router/{arm['partition']}/{arm['router']}/weights.safetensors"]


def arm_centroids(wildcards):
    """Centroids and sizes of the arm's partition."""
    return f"{R}/partition/{arm_of(wildcards)['partition']}/centroids.safetensors"


def arm_encoder(wildcards):
    """The encoder in whose space the arm's partition was made."""
    encoder = SPEC["partitions"][arm_of(wildcards)["partition"]]["encoder"]
    return f"{R}/embed/{encoder}/encoder.safetensors"


def samples_spec(wildcards):
    """What the job may see."""
    arm, sizes = arm_of(wildcards), SPEC["samples"]
    return part(
        arm_name=wildcards.arm,
        router=SPEC["routers"][arm["router"]],
        policy=SPEC["policies"][arm["policy"]],
        sampler=SPEC["samplers"][arm["sampler"]],
        first_seed=int(wildcards.shard) * sizes["shard_size"],
        num_seeds=sizes["shard_size"],
        batch_size=sizes["batch_size"],
        num_trajectories=sizes["num_trajectories"],
    )


def space_maker(wildcards):
    """The fitted encoder or trained extractor that makes the space."""
    if wildcards.space in SPEC["encoders"]:
        return f"{R}/embed/{wildcards.space}/encoder.safetensors"
    return f"{R}/extractor/{wildcards.space}/weights.safetensors"


def space_kind(wildcards):
    """What the stage shall take the maker for."""
    return "encoder" if wildcards.space in SPEC["encoders"] else "extractor"


USED = {arm["partition"] for arm in SPEC["arms"].values()}
EXPERTS = [
    [p, k]
    for p in SPEC["partitions"]
    if p in USED
    for k in range(PLAN["num_experts"][p])
]
ROUTERS = sorted(
    {
        (arm["partition"], arm["router"])
        for arm in SPEC["arms"].values()
        if arm["router"] in PLAN["learned"]
    }
)


def per_arm(stem, suffix):
    """One file per arm and shard, arm by arm."""
    return [
        f"{R}/samples/{arm}/{stem}-{i}.{suffix}"
        for arm in SPEC["arms"]
        for i in shards()
    ]


def per_router(stem):
    """One file per trained router."""
    return [f"{R}/router/{p}/{r}/{stem}.parquet" for p, r in ROUTERS]


def per_partition(name):
    """One file per partition."""
    return [f"{R}/partition/{p}/{name}" for p in SPEC["partitions"]]


# What a figure may ask for: input names and files by the words of `needs`.
NEEDS = {
    "metrics": {"metrics": [f"{R}/metrics/metrics.parquet"]},
    "differences": {"differences": [f"{R}/metrics/differences.parquet"]},
    "bills": {"bills": per_arm("bill", "parquet")},
    "traces": {"traces": per_arm("trace", "safetensors")},
    "samples": {"samples": per_arm("samples", "safetensors")},
    "trajectories": {"trajectories": per_arm("trajectories", "safetensors")},
    "losses": {"losses": [f"{R}/experts/{p}/{k}/loss.parquet" for p, k in EXPERTS]},
    "router_losses": {"router_losses": per_router("loss")},
    "router_reports": {"router_reports": per_router("report")},
    "data": {
        "data": [f"{R}/data/samples-00000.safetensors"],
        "index": [f"{R}/data/index.parquet"],
    },
    "partitions": {
        "partitions": per_partition("assignments.parquet"),
        "centroids": per_partition("centroids.safetensors"),
    },
}


def figure_inputs(wildcards):
    """The files that this figure or table reads."""
    files = {}
    for need in PLAN["needs"][wildcards.figure]:
        files |= NEEDS[need]
    return files


def figure_words(wildcards, input):
    """The same files as words of the command."""
    return " ".join(
        f"--in {name}={' '.join(input[name])}" for name in figure_inputs(wildcards)
    )


def figure_spec(wildcards):
    """What the job may see."""
    return part(
        figure_name=wildcards.figure,
        figure=SPEC["figures"][wildcards.figure],
        arms=SPEC["arms"],
        policies=SPEC["policies"],
        samplers=SPEC["samplers"],
        partitions=SPEC["partitions"],
        num_experts=PLAN["num_experts"],
        experts=EXPERTS,
        routers=[list(pair) for pair in ROUTERS],
        num_shards=NUM_SHARDS,
    )


def figure_files():
    """Every file of every figure and table."""
    return [
        f"{R}/figures/{name}.{kind}"
        for name in SPEC["figures"]
        for kind in [*PLAN["formats"][name], "parquet"]
    ]


SPACE = SPEC["metrics"]["extractor"]
PLACE = SPEC["partitions"][SPEC["metrics"]["shares_partition"]]["encoder"]
SHARES = f"{R}/partition/{SPEC['metrics']['shares_partition']}"
