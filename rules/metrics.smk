"""Every arm against the real images, with intervals, in one table."""


rule metrics:
    input:
        index=INDEX,
        real=real_features(SPACE),
        real_place=real_features(PLACE),
        features=[f"{R}/features/{SPACE}/{arm}.safetensors" for arm in SPEC["arms"]],
        place=[f"{R}/features/{PLACE}/{arm}.safetensors" for arm in SPEC["arms"]],
        assignments=f"{SHARES}/assignments.parquet",
        centroids=f"{SHARES}/centroids.safetensors",
    output:
        metrics=f"{R}/metrics/metrics.parquet",
        differences=f"{R}/metrics/differences.parquet",
        replicates=f"{R}/metrics/replicates.parquet",
    log:
        f"{R}/logs/metrics.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=part(
            arms=list(SPEC["arms"]), num_trainings=len(TRAININGS), **SPEC["metrics"]
        ),
        code=code("metrics"),
    message:
        "metrics: all arms against the real images"
    shell:
        "python -m routing metrics --in index={input.index} --in real={input.real}"
        " --in real_place={input.real_place} --in features={input.features}"
        " --in place={input.place} --in assignments={input.assignments}"
        " --in centroids={input.centroids} --out metrics={output.metrics}"
        " --out differences={output.differences} --out replicates={output.replicates}"
        " --spec {params.spec:q} --log {log}"
