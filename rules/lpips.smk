"""LPIPS between the samples of an arm, and between an arm and the reference arm."""


def lpips_baseline(wildcards):
    """The samples of the reference arm; none for the reference arm itself."""
    reference = SPEC["metrics"]["reference_arm"]
    if wildcards.arm == reference:
        return []
    return [
        f"{R}/samples/{reference}/{training}/samples-{i}.safetensors"
        for training in TRAINING_SEEDS
        for i in seed_shards()
    ]


def lpips_within(arm):
    """What the two samples of a pair must have in common: nothing (all), a label or a text.

    Held-out images are grouped like the samples of the reference arm.
    """
    if SPEC["metrics"]["lpips"]["within"] == "all":
        return "all"
    of = SPEC["metrics"]["reference_arm"] if arm == HELDOUT else arm
    return SPEC["partitions"][SPEC["arms"][of]["partition"]]["condition"]


def lpips_index(wildcards):
    """The index with the captions, for an arm whose pairs share a text."""
    return [INDEX] if lpips_within(wildcards.arm) == "text" else []


def lpips_spec(arm, num_training_seeds):
    """The part of the config that the job reads."""
    options = dict(SPEC["metrics"]["lpips"])
    del options["within"]
    return job_spec(
        arm=arm,
        within=lpips_within(arm),
        lpips=options,
        num_blocks=SPEC["metrics"]["num_blocks"],
        num_samples=SPEC["samples"]["num_samples"],
        num_training_seeds=num_training_seeds,
    )


def lpips_files(stem):
    """A function from wildcards to the LPIPS files of an arm; none if LPIPS is not measured."""

    def files(wildcards):
        is_measured = any(metric["name"] == "lpips" for metric in METRICS)
        return (
            [f"{R}/lpips/{wildcards.sample_set}/{stem}.parquet"] if is_measured else []
        )

    return files


rule lpips:
    input:
        samples=[
            f"{R}/samples/{{arm}}/{training}/samples-{i}.safetensors"
            for training in TRAINING_SEEDS
            for i in seed_shards()
        ],
        baseline=lpips_baseline,
        index=lpips_index,
    output:
        scores=f"{R}/lpips/{{arm}}/scores.parquet",
        pairs=f"{R}/lpips/{{arm}}/pairs.parquet",
    log:
        f"{R}/logs/lpips/{{arm}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: lpips_spec(wildcards.arm, len(TRAINING_SEEDS)),
        code=code("lpips"),
    message:
        "lpips: distances within arm {wildcards.arm}"
    shell:
        "python -m routing lpips --in samples={input.samples}"
        " --in baseline={input.baseline} --in index={input.index}"
        " --out scores={output.scores} --out pairs={output.pairs}"
        " --spec {params.spec:q} --log {log}"


rule real_lpips:
    input:
        samples=IMAGES,
        index=INDEX,
    output:
        scores=f"{R}/lpips/heldout/scores.parquet",
        pairs=f"{R}/lpips/heldout/pairs.parquet",
    log:
        f"{R}/logs/lpips/heldout.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: lpips_spec("heldout", 1),
        code=code("lpips"),
    message:
        "lpips: distances within the held-out real images"
    shell:
        "python -m routing lpips --in samples={input.samples} --in baseline="
        " --in index={input.index} --out scores={output.scores} --out pairs={output.pairs}"
        " --spec {params.spec:q} --log {log}"
