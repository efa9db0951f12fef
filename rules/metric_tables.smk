"""All arms beside each other, with intervals, in long tables."""


rule metric_tables:
    input:
        replicates=per_set("replicates"),
        bootstrap=per_set("bootstrap"),
        scores=per_set("scores"),
    output:
        metrics=f"{R}/metric_tables/metrics.parquet",
        differences=f"{R}/metric_tables/differences.parquet",
        comparisons=f"{R}/metric_tables/comparisons.parquet",
        replicates=f"{R}/metric_tables/replicates.parquet",
        scores=f"{R}/metric_tables/scores.parquet",
    log:
        f"{R}/logs/metric_tables.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=part(
            arms=list(SPEC["arms"]), reference_arm=SPEC["metrics"]["reference_arm"]
        ),
        code=code("metric_tables"),
    message:
        "metric_tables: all arms beside each other"
    shell:
        "python -m routing metric_tables --in replicates={input.replicates}"
        " --in bootstrap={input.bootstrap} --in scores={input.scores}"
        " --out metrics={output.metrics} --out differences={output.differences}"
        " --out comparisons={output.comparisons} --out replicates={output.replicates}"
        " --out scores={output.scores} --spec {params.spec:q} --log {log}"
