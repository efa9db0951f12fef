"""Join the metrics of all arms into long tables with intervals and comparisons."""


def arm_metrics_files(stem):
    """One file for each arm, the held-out images first."""
    return [f"{R}/arm_metrics/{name}/{stem}.parquet" for name in SAMPLE_SETS]


rule metric_tables:
    input:
        replicates=arm_metrics_files("replicates"),
        bootstrap=arm_metrics_files("bootstrap"),
        scores=arm_metrics_files("scores"),
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
        spec=job_spec(
            arms=list(SPEC["arms"]), reference_arm=SPEC["metrics"]["reference_arm"]
        ),
        code=code("metric_tables"),
    message:
        "metric_tables: compare all arms"
    shell:
        "python -m routing metric_tables --in replicates={input.replicates}"
        " --in bootstrap={input.bootstrap} --in scores={input.scores}"
        " --out metrics={output.metrics} --out differences={output.differences}"
        " --out comparisons={output.comparisons} --out replicates={output.replicates}"
        " --out scores={output.scores} --spec {params.spec:q} --log {log}"
