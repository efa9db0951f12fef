"""Every metric of one arm, with its replicates; held-out real images are one more arm."""


rule arm_metrics:
    input:
        index=INDEX,
        features=set_features,
        references=[
            f"{R}/reference_statistics/{space}/references.safetensors"
            for space in SPACES
        ],
        real=[file for space in SEARCHED for file in real_features(space)],
        centroids=f"{SHARES}/centroids.safetensors",
        clip_captions=clip_captions_of("features", "safetensors"),
        captions=clip_captions_of("captions", "parquet"),
        lpips=set_lpips("scores"),
        pairs=set_lpips("pairs"),
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
        " --in clip_captions={input.clip_captions} --in captions={input.captions}"
        " --in lpips={input.lpips} --in pairs={input.pairs}"
        " --out replicates={output.replicates} --out bootstrap={output.bootstrap}"
        " --out scores={output.scores} --spec {params.spec:q} --log {log}"
