"""Measure one arm. The held-out real images are measured as one more arm."""

# The feature spaces in which nearest neighbours among all training images are searched.
NEAREST_FEATURE_SPACES = list(
    dict.fromkeys(
        feature_space_of(metric) for metric in METRICS if metric["name"] == "copies"
    )
)


def arm_metrics_features(wildcards):
    """The features of an arm, or of the held-out images, in all feature spaces."""
    if wildcards.sample_set == HELDOUT:
        return [
            f"{R}/reference_statistics/{space}/heldout.safetensors"
            for space in FEATURE_SPACES
        ]
    return [
        f"{R}/sample_features/{space}/{wildcards.sample_set}.safetensors"
        for space in FEATURE_SPACES
    ]


METRIC_KEYS = (  # of the section `metrics` of the config
    "feature_space",
    "reference_arm",
    "num_blocks",
    "num_bootstrap",
    "lpips",
    "list",
)


def arm_metrics_spec(wildcards):
    """The part of the config that the job reads."""
    metrics = SPEC["metrics"]
    return job_spec(
        arm=wildcards.sample_set,
        feature_spaces=FEATURE_SPACES,
        shares_feature_space=SHARES_FEATURE_SPACE,
        nearest_feature_spaces=NEAREST_FEATURE_SPACES,
        caption_feature_spaces=PLAN["caption_feature_spaces"],
        num_training_seeds=len(TRAINING_SEEDS),
        num_samples=SPEC["samples"]["num_samples"],
        **{key: metrics[key] for key in METRIC_KEYS},
    )


rule arm_metrics:
    input:
        index=INDEX,
        features=arm_metrics_features,
        references=[
            f"{R}/reference_statistics/{space}/references.safetensors"
            for space in FEATURE_SPACES
        ],
        real=[
            file
            for space in NEAREST_FEATURE_SPACES
            for file in real_feature_files(space)
        ],
        centroids=f"{SHARES_PARTITION}/centroids.safetensors",
        clip_score_captions=clip_score_captions_files("features", "safetensors"),
        captions=clip_score_captions_files("captions", "parquet"),
        lpips=lpips_files("scores"),
        pairs=lpips_files("pairs"),
    output:
        replicates=f"{R}/arm_metrics/{{sample_set}}/replicates.parquet",
        bootstrap=f"{R}/arm_metrics/{{sample_set}}/bootstrap.parquet",
        scores=f"{R}/arm_metrics/{{sample_set}}/scores.parquet",
    log:
        f"{R}/logs/arm_metrics/{{sample_set}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=arm_metrics_spec,
        code=code("arm_metrics"),
    message:
        "arm_metrics: arm {wildcards.sample_set} against the real images"
    shell:
        "python -m routing arm_metrics --in index={input.index} --in features={input.features}"
        " --in references={input.references} --in real={input.real}"
        " --in centroids={input.centroids}"
        " --in clip_score_captions={input.clip_score_captions} --in captions={input.captions}"
        " --in lpips={input.lpips} --in pairs={input.pairs}"
        " --out replicates={output.replicates} --out bootstrap={output.bootstrap}"
        " --out scores={output.scores} --spec {params.spec:q} --log {log}"
