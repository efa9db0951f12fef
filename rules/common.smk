"""Names, checks and the parts of the config that jobs may see; no rules."""

import fcntl
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))

from routing.config import cache as _config
from routing.stages import audit as _audit
from routing.workflow import code_digest as _code


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
NUM_PROBE_SHARDS = SPEC["probe"]["num_states"] // SPEC["probe"]["shard_size"]
TRAINING_SEEDS = range(SPEC["num_training_seeds"])
DATA_SHARDS = [f"{i:05d}" for i in range(SPEC["data"]["num_shards"])]
DATA = f"{R}/data/{PLAN['images']}"  # the rule by which images are cut is part of their name
INDEX = f"{R}/index/index.parquet"
IMAGES = [f"{DATA}/samples-{i}.safetensors" for i in DATA_SHARDS]
# What experts and routers see: the images, or their latents.
VALUES = (
    [f"{R}/latents/samples-{i}.safetensors" for i in DATA_SHARDS]
    if SPEC["autoencoder"]
    else IMAGES
)


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


def spare_scheduler():
    """Without a limit to local jobs per second. To keep one, Snakemake 9.27 looks at all ready
    jobs again every second, once for each job that has ended: half a core after 200 jobs.
    """
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


def one_of(names):
    """A pattern that matches exactly these names (nothing, if there are none)."""
    return "|".join(names) or "(?!x)x"


wildcard_constraints:
    partition=one_of(SPEC["partitions"]),
    encoder=one_of(SPEC["encoders"]),
    text_encoder=one_of([SPEC["text_encoder"]["name"]]),
    router=one_of(SPEC["routers"]),
    arm=one_of(SPEC["arms"]),
    feature_space=one_of([*SPEC["classifiers"], *SPEC["encoders"]]),
    classifier=one_of(SPEC["classifiers"]),
    sample_set=one_of([*SPEC["arms"], "heldout"]),
    training_seed=r"\d+",
    cluster=r"\d+",
    shard=r"\d{5}",


def code(stage):
    """Digest of all code that `stage` can see; a parameter of its rule, so that edits rerun it."""
    return _code.stage_digest(stage)


def part(**keys):
    """The part of the config that a job may see, as one JSON text, in the config's order."""
    return json.dumps({"run": RUN, "seed": SPEC["seed"], **keys})


def shards():
    """The numbers of the sample shards."""
    return [f"{i:05d}" for i in range(NUM_SHARDS)]


def probe_shards(stem, suffix, partition, training):
    """The files of this name of one probe, shard by shard."""
    folder = f"{R}/probe/{partition}/{training}"
    return [f"{folder}/{stem}-{i:05d}.{suffix}" for i in range(NUM_PROBE_SHARDS)]


def arm_of(wildcards):
    """The config of the arm of this job."""
    return SPEC["arms"][wildcards.arm]


def read_by(encoder):
    """The shards that this encoder reads: images or latents."""
    return VALUES if SPEC["encoders"][encoder].get("reads") == "latents" else IMAGES


def encoder_samples(wildcards):
    """All samples that this encoder may be fitted on."""
    return read_by(wildcards.encoder)


def embed_samples(wildcards):
    """The shard that is embedded."""
    return read_by(wildcards.encoder)[int(wildcards.shard)]


def features_of(space):
    """The features of the real samples in this encoder's space, shard by shard."""
    return [f"{R}/embed/{space}/features-{i}.safetensors" for i in DATA_SHARDS]


def partition_features(wildcards):
    """The features in which this partition is made."""
    return features_of(SPEC["partitions"][wildcards.partition]["encoder"])


def told_texts(condition):
    """Whether experts or routers under this condition read captions from a table."""
    return condition == "text" and SPEC["text_encoder"]["name"] in PLAN["tabled_texts"]


def caption_table(is_told, stem):
    """The captions, as tokens or as text, for jobs that are told texts."""
    suffix = {"tokens": "safetensors", "captions": "parquet"}[stem]
    return (
        [f"{R}/text_embeddings/{SPEC['text_encoder']['name']}/{stem}.{suffix}"]
        if is_told
        else []
    )


def partition_told(wildcards):
    """Whether the experts of this partition read captions from a table."""
    return told_texts(SPEC["partitions"][wildcards.partition]["condition"])


def router_told(wildcards):
    """Whether this router, or an expert of its partition, reads captions from a table."""
    return told_texts(SPEC["routers"][wildcards.router]["condition"])


def arm_told(wildcards):
    """Whether the experts of this arm read captions from a table."""
    return told_texts(SPEC["partitions"][arm_of(wildcards)["partition"]]["condition"])


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
        training_seed=int(wildcards.training_seed),
        cluster=int(wildcards.cluster),
        num_experts=PLAN["num_experts"][wildcards.partition],
        condition=SPEC["partitions"][wildcards.partition]["condition"],
    )


def probe_spec(wildcards):
    """What the job may see."""
    return part(
        probe=SPEC["probe"],
        partition=wildcards.partition,
        training_seed=int(wildcards.training_seed),
        first_state=int(wildcards.shard) * SPEC["probe"]["shard_size"],
    )


def router_start(wildcards):
    """The weights of the router that this one starts from, if it does."""
    start = SPEC["routers"][wildcards.router]["start"]
    folder = f"{R}/router/{wildcards.partition}/{start}/{wildcards.training_seed}"
    return [f"{folder}/weights.safetensors"] if start else []


def router_gram(wildcards):
    """What the experts said on the probe."""
    return probe_shards(
        "gram", "safetensors", wildcards.partition, wildcards.training_seed
    )


def router_states(wildcards):
    """The states of the probe."""
    return probe_shards(
        "states", "parquet", wildcards.partition, wildcards.training_seed
    )


def router_spec(wildcards):
    """What the job may see."""
    return part(
        router_name=wildcards.router,
        router=SPEC["routers"][wildcards.router],
        partition=wildcards.partition,
        training_seed=int(wildcards.training_seed),
        num_experts=PLAN["num_experts"][wildcards.partition],
    )


def experts_of(partition, training):
    """The weights of all experts of a partition."""
    folder, num = f"{R}/experts/{partition}/{training}", PLAN["num_experts"][partition]
    return [f"{folder}/{k}/weights.safetensors" for k in range(num)]


def probed_experts(wildcards):
    """The weights of all experts of this partition."""
    return experts_of(wildcards.partition, wildcards.training_seed)


def arm_experts(wildcards):
    """The weights of all experts of the arm's partition."""
    return experts_of(arm_of(wildcards)["partition"], wildcards.training_seed)


def arm_router(wildcards):
    """The weights of the arm's router, if it is a learned one."""
    arm = arm_of(wildcards)
    if arm["router"] not in PLAN["learned"]:
        return []
    folder = f"{R}/router/{arm['partition']}/{arm['router']}/{wildcards.training_seed}"
    return [f"{folder}/weights.safetensors"]


def is_piloted(wildcards):
    """Whether the arm's policy has a threshold that is found on the probe."""
    return arm_of(wildcards)["policy"] in PLAN["piloted"]


def pilot_gram(wildcards):
    """What the experts said on the probe, for a piloted arm."""
    of = arm_of(wildcards)["partition"], wildcards.training_seed
    return probe_shards("gram", "safetensors", *of) if is_piloted(wildcards) else []


def pilot_states(wildcards):
    """The states of the probe, for a piloted arm."""
    of = arm_of(wildcards)["partition"], wildcards.training_seed
    return probe_shards("states", "parquet", *of) if is_piloted(wildcards) else []


def pilot_images(wildcards):
    """The images that the probe has noised, for a piloted arm."""
    return VALUES if is_piloted(wildcards) else []


def arm_centroids(wildcards):
    """Centroids and sizes of the arm's partition."""
    return f"{R}/partition/{arm_of(wildcards)['partition']}/centroids.safetensors"


def arm_encoder(wildcards):
    """The encoder in whose space the arm's partition was made."""
    return encoder_file(SPEC["partitions"][arm_of(wildcards)["partition"]]["encoder"])


def samples_spec(wildcards):
    """What the job may see."""
    arm, sizes = arm_of(wildcards), SPEC["samples"]
    return part(
        arm_name=wildcards.arm,
        router=SPEC["routers"][arm["router"]],
        policy=SPEC["policies"][arm["policy"]],
        sampler=SPEC["samplers"][arm["sampler"]],
        guidance=SPEC["guidances"].get(arm["guidance"], {"name": "none"}),
        training_seed=int(wildcards.training_seed),
        first_seed=int(wildcards.shard) * sizes["shard_size"],
        num_seeds=sizes["shard_size"],
        batch_size=sizes["batch_size"],
        num_trajectories=sizes["num_trajectories"],
    )


def lpips_baseline(wildcards):
    """The samples of the reference arm, from the same seeds; none for that arm itself."""
    reference = SPEC["metrics"]["reference_arm"]
    if wildcards.arm == reference:
        return []
    return [
        f"{R}/samples/{reference}/{training}/samples-{i}.safetensors"
        for training in TRAINING_SEEDS
        for i in shards()
    ]


def lpips_within(arm):
    """What pairs of an arm must share: nothing, or the label or text its experts are told.

    Held-out images are grouped as the samples of the reference arm are.
    """
    if SPEC["metrics"]["lpips"]["within"] == "all":
        return "all"
    of = SPEC["metrics"]["reference_arm"] if arm == HELDOUT else arm
    return SPEC["partitions"][SPEC["arms"][of]["partition"]]["condition"]


def lpips_index(wildcards):
    """The captions, for an arm whose pairs must share one."""
    return [INDEX] if lpips_within(wildcards.arm) == "text" else []


def lpips_spec(arm, num_training_seeds):
    """What the job may see."""
    options = dict(SPEC["metrics"]["lpips"])
    del options["within"]
    return part(
        arm=arm,
        within=lpips_within(arm),
        lpips=options,
        num_blocks=SPEC["metrics"]["num_blocks"],
        num_samples=SPEC["samples"]["num_samples"],
        num_training_seeds=num_training_seeds,
    )


def encoder_file(encoder):
    """The fitted encoder."""
    return f"{R}/fit_encoder/{encoder}/encoder.safetensors"


def space_maker(wildcards):
    """The fitted encoder or trained classifier that makes the space."""
    if wildcards.feature_space in SPEC["encoders"]:
        return encoder_file(wildcards.feature_space)
    return f"{R}/classifier/{wildcards.feature_space}/weights.safetensors"


def space_kind(wildcards):
    """What the stage shall take the maker for."""
    return "encoder" if wildcards.feature_space in SPEC["encoders"] else "classifier"


def sample_features_spec(wildcards):
    """What the job may see; samples are decoded but for an encoder that reads latents."""
    reads = SPEC["encoders"].get(wildcards.feature_space, {}).get("reads")
    autoencoder = None if reads == "latents" else SPEC["autoencoder"]
    return part(
        feature_space=wildcards.feature_space,
        sample_set=wildcards.arm,
        autoencoder=autoencoder,
        shard_size=SPEC["samples"]["shard_size"],
    )


def real_features(space):
    """The real images in a space, shard by shard; those of an encoder are there already."""
    if space in SPEC["encoders"]:
        return features_of(space)
    return [f"{R}/sample_features/{space}/data-{i}.safetensors" for i in DATA_SHARDS]


PLACE = SPEC["partitions"][SPEC["metrics"]["shares_partition"]]["encoder"]
SHARES = f"{R}/partition/{SPEC['metrics']['shares_partition']}"
SPACES = PLAN["feature_spaces"]  # that are measured in
METRICS = SPEC["metrics"]["list"]
LPIPS = any(metric["name"] == "lpips" for metric in METRICS)
HELDOUT = "heldout"  # real images, as one more arm
SETS = [HELDOUT, *SPEC["arms"]]


def space_of(metric):
    """The space of a metric; None for one without."""
    return (
        (metric["feature_space"] or SPEC["metrics"]["feature_space"])
        if "feature_space" in metric
        else None
    )


SEARCHED = list(  # spaces in which the nearest of all training images is looked for
    dict.fromkeys(space_of(metric) for metric in METRICS if metric["name"] == "copies")
)


def reference_statistics_spec(wildcards):
    """What the job may see."""
    metrics = SPEC["metrics"]
    return part(
        feature_space=wildcards.feature_space,
        list=[m for m in METRICS if space_of(m) == wildcards.feature_space],
        num_references=metrics["num_references"],
        num_blocks=metrics["num_blocks"],
        num_samples=SPEC["samples"]["num_samples"],
        num_clusters=PLAN["num_experts"][metrics["shares_partition"]],
    )


def set_features(wildcards):
    """The features of an arm, or of the held-out images, in all spaces."""
    if wildcards.sample_set == HELDOUT:
        return [
            f"{R}/reference_statistics/{space}/heldout.safetensors" for space in SPACES
        ]
    return [
        f"{R}/sample_features/{space}/{wildcards.sample_set}.safetensors"
        for space in SPACES
    ]


def clip_captions_of(stem, suffix):
    """Captions in the spaces that compare them with samples."""
    return [
        f"{R}/clip_captions/{space}/{stem}.{suffix}" for space in PLAN["clip_captions"]
    ]


def set_lpips(stem):
    """What LPIPS says of an arm, if it is asked."""

    def files(wildcards):
        return [f"{R}/lpips/{wildcards.sample_set}/{stem}.parquet"] if LPIPS else []

    return files


def arm_metrics_spec(wildcards):
    """What the job may see."""
    metrics = SPEC["metrics"]
    return part(
        arm=wildcards.sample_set,
        feature_spaces=SPACES,
        place=PLACE,
        searched=SEARCHED,
        clip_captions=PLAN["clip_captions"],
        num_training_seeds=len(TRAINING_SEEDS),
        num_samples=SPEC["samples"]["num_samples"],
        **{key: metrics[key] for key in SCORED},
    )


SCORED = (
    "feature_space",
    "reference_arm",
    "num_blocks",
    "num_bootstrap",
    "lpips",
    "list",
)


def per_set(stem):
    """One file per arm, the held-out images first."""
    return [f"{R}/arm_metrics/{name}/{stem}.parquet" for name in SETS]


USED = {arm["partition"] for arm in SPEC["arms"].values()}
EXPERTS = [
    [p, k]
    for p in SPEC["partitions"]
    if p in USED
    for k in range(PLAN["num_experts"][p])
]
PROBED = [p for p in SPEC["partitions"] if p in USED and PLAN["num_experts"][p] > 1]
ROUTERS = sorted(
    {
        (arm["partition"], arm["router"])
        for arm in SPEC["arms"].values()
        if arm["router"] in PLAN["learned"]
    }
)


def per_arm(stem, suffix, trainings=TRAINING_SEEDS):
    """One file per arm, training and shard, arm by arm."""
    return [
        f"{R}/samples/{arm}/{training}/{stem}-{i}.{suffix}"
        for arm in SPEC["arms"]
        for training in trainings
        for i in shards()
    ]


def per_router(stem, trainings=TRAINING_SEEDS):
    """One file per trained router and training."""
    return [
        f"{R}/router/{p}/{r}/{training}/{stem}.parquet"
        for p, r in ROUTERS
        for training in trainings
    ]


def per_probe(stem, suffix):
    """One file per probe and shard, partition by partition and training by training."""
    return [
        path
        for p in PROBED
        for training in TRAINING_SEEDS
        for path in probe_shards(stem, suffix, p, training)
    ]


def per_partition(name):
    """One file per partition."""
    return [f"{R}/partition/{p}/{name}" for p in SPEC["partitions"]]


# What a figure may ask for: input names and files by the words of `needs`.
NEEDS = {
    "metrics": {"metrics": [f"{R}/metric_tables/metrics.parquet"]},
    "differences": {"differences": [f"{R}/metric_tables/differences.parquet"]},
    "comparisons": {"comparisons": [f"{R}/metric_tables/comparisons.parquet"]},
    "replicates": {"replicates": [f"{R}/metric_tables/replicates.parquet"]},
    "costs": {"costs": per_arm("cost", "parquet")},
    "traces": {"traces": per_arm("trace", "safetensors")},
    # Pictures and curves are of the first training.
    "samples": {"samples": per_arm("samples", "safetensors", [0])},
    "trajectories": {"trajectories": per_arm("trajectories", "safetensors", [0])},
    "losses": {"losses": [f"{R}/experts/{p}/0/{k}/loss.parquet" for p, k in EXPERTS]},
    "router_losses": {"router_losses": per_router("loss", [0])},
    "router_reports": {"router_reports": per_router("report")},
    "reliability": {"reliability": per_router("reliability")},
    "probes": {
        "grams": per_probe("gram", "safetensors"),
        "states": per_probe("states", "parquet"),
    },
    "places": {
        "places": [
            f"{R}/sample_features/{PLACE}/{arm}.safetensors" for arm in SPEC["arms"]
        ]
    },
    "data": {
        "data": IMAGES,
        "index": [INDEX],
    },
    "partitions": {
        "partitions": per_partition("assignments.parquet"),
        "centroids": per_partition("centroids.safetensors"),
    },
    "reports": {"reports": per_partition("report.parquet")},
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
        all_routers=SPEC["routers"],
        policies=SPEC["policies"],
        samplers=SPEC["samplers"],
        guidances=SPEC["guidances"],
        partitions=SPEC["partitions"],
        num_training_seeds=len(TRAINING_SEEDS),
        shares_partition=SPEC["metrics"]["shares_partition"],
        autoencoder=SPEC["autoencoder"],
        num_experts=PLAN["num_experts"],
        experts=EXPERTS,
        routers=[list(pair) for pair in ROUTERS],
        probed=PROBED,
        num_shards=NUM_SHARDS,
        num_probe_shards=NUM_PROBE_SHARDS,
    )


def figure_files():
    """Every file of every figure and table."""
    return [
        f"{R}/figures/{name}.{kind}"
        for name in SPEC["figures"]
        for kind in [*PLAN["formats"][name], "parquet"]
    ]
