"""Draw each figure and write each table, together with the numbers behind it as Parquet."""

USED_PARTITIONS = {arm["partition"] for arm in SPEC["arms"].values()}


EXPERTS = [
    [p, k]
    for p in SPEC["partitions"]
    if p in USED_PARTITIONS
    for k in range(PLAN["num_experts"][p])
]


PROBED = [
    p for p in SPEC["partitions"] if p in USED_PARTITIONS and PLAN["num_experts"][p] > 1
]


ROUTERS = sorted(
    {
        (arm["partition"], arm["router"])
        for arm in SPEC["arms"].values()
        if arm["router"] in PLAN["learned_routers"]
    }
)


def per_arm(stem, suffix, training_seeds=TRAINING_SEEDS):
    """One file for each arm, training seed and shard, in this order."""
    return [
        f"{R}/samples/{arm}/{seed}/{stem}-{i}.{suffix}"
        for arm in SPEC["arms"]
        for seed in training_seeds
        for i in seed_shards()
    ]


def per_router(stem, training_seeds=TRAINING_SEEDS):
    """One file for each trained router and training seed."""
    return [
        f"{R}/router/{p}/{r}/{seed}/{stem}.parquet"
        for p, r in ROUTERS
        for seed in training_seeds
    ]


def per_probe(stem, suffix):
    """One file for each partition, training seed and shard of the probe, in this order."""
    return [
        path
        for p in PROBED
        for seed in TRAINING_SEEDS
        for path in probe_files(stem, suffix, p, seed)
    ]


def per_partition(name):
    """One file for each partition."""
    return [f"{R}/partition/{p}/{name}" for p in SPEC["partitions"]]


# The inputs that a figure can declare in `needs`, and their files.
FIGURE_INPUTS = {
    "metrics": {"metrics": [f"{R}/metric_tables/metrics.parquet"]},
    "differences": {"differences": [f"{R}/metric_tables/differences.parquet"]},
    "comparisons": {"comparisons": [f"{R}/metric_tables/comparisons.parquet"]},
    "replicates": {"replicates": [f"{R}/metric_tables/replicates.parquet"]},
    "costs": {"costs": per_arm("cost", "parquet")},
    "traces": {"traces": per_arm("trace", "safetensors")},
    # Pictures and curves show the first training seed.
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
    "cluster_features": {
        "cluster_features": [
            f"{R}/sample_features/{SHARES_FEATURE_SPACE}/{arm}.safetensors"
            for arm in SPEC["arms"]
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
    for need in PLAN["figure_inputs"][wildcards.figure]:
        files |= FIGURE_INPUTS[need]
    return files


def figure_arguments(wildcards, input):
    """The same files as arguments of the command."""
    return " ".join(
        f"--in {name}={' '.join(input[name])}" for name in figure_inputs(wildcards)
    )


def figure_spec(wildcards):
    """The part of the config that the job reads."""
    return job_spec(
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
        for kind in [*PLAN["figure_formats"][name], "parquet"]
    ]


rule figure:
    input:
        unpack(figure_inputs),
    output:
        pdf=f"{R}/figures/{{figure}}.pdf",
        png=f"{R}/figures/{{figure}}.png",
        table=f"{R}/figures/{{figure}}.parquet",
    log:
        f"{R}/logs/figures/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(
            n for n, kinds in PLAN["figure_formats"].items() if "png" in kinds
        ),
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=figure_spec,
        code=code("figures"),
        words=figure_arguments,
    message:
        "figures: draw {wildcards.figure}"
    shell:
        "python -m routing figures {params.words} --out pdf={output.pdf} --out png={output.png}"
        " --out table={output.table} --spec {params.spec:q} --log {log}"


rule table:
    input:
        unpack(figure_inputs),
    output:
        md=f"{R}/figures/{{figure}}.md",
        tex=f"{R}/figures/{{figure}}.tex",
        table=f"{R}/figures/{{figure}}.parquet",
    log:
        f"{R}/logs/figures/{{figure}}.log",
    wildcard_constraints:
        figure=one_of(n for n, kinds in PLAN["figure_formats"].items() if "md" in kinds),
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=figure_spec,
        code=code("figures"),
        words=figure_arguments,
    message:
        "figures: write the table {wildcards.figure}"
    shell:
        "python -m routing figures {params.words} --out md={output.md} --out tex={output.tex}"
        " --out table={output.table} --spec {params.spec:q} --log {log}"
