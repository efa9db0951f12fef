"""All arms beside each other, with intervals, in long tables."""


rule metrics:
    input:
        replicates=per_set("replicates"),
        bootstrap=per_set("bootstrap"),
        scores=per_set("scores"),
    output:
        metrics=f"{R}/metrics/metrics.parquet",
        differences=f"{R}/metrics/differences.parquet",
        comparisons=f"{R}/metrics/comparisons.parquet",
        replicates=f"{R}/metrics/replicates.parquet",
        scores=f"{R}/metrics/scores.parquet",
    log:
        f"{R}/logs/metrics.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=part(
            arms=list(SPEC["arms"]), reference_arm=SPEC["metrics"]["reference_arm"]
        ),
        code=code("metrics"),
    message:
        "metrics: all arms beside each other"
    shell:
        "python -m routing metrics --in replicates={input.replicates}"
        " --in bootstrap={input.bootstrap} --in scores={input.scores}"
        " --out metrics={output.metrics} --out differences={output.differences}"
        " --out comparisons={output.comparisons} --out replicates={output.replicates}"
        " --out scores={output.scores} --spec {params.spec:q} --log {log}"
