"""Fit the reference statistics of the real images, once for each feature space."""


def reference_statistics_spec(wildcards):
    """The part of the config that the job reads."""
    metrics = SPEC["metrics"]
    return job_spec(
        feature_space=wildcards.feature_space,
        list=[m for m in METRICS if feature_space_of(m) == wildcards.feature_space],
        num_references=metrics["num_references"],
        num_blocks=metrics["num_blocks"],
        num_samples=SPEC["samples"]["num_samples"],
        num_clusters=PLAN["num_experts"][metrics["shares_partition"]],
    )


rule reference_statistics:
    input:
        index=INDEX,
        real=lambda wildcards: real_feature_files(wildcards.feature_space),
        assignments=f"{SHARES_PARTITION}/assignments.parquet",
    output:
        references=f"{R}/reference_statistics/{{feature_space}}/references.safetensors",
        heldout=f"{R}/reference_statistics/{{feature_space}}/heldout.safetensors",
    log:
        f"{R}/logs/reference_statistics/{{feature_space}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=reference_statistics_spec,
        code=code("reference_statistics"),
    message:
        "reference_statistics: the real images in {wildcards.feature_space}"
    shell:
        "python -m routing reference_statistics --in index={input.index} --in real={input.real}"
        " --in assignments={input.assignments} --out references={output.references}"
        " --out heldout={output.heldout} --spec {params.spec:q} --log {log}"
