"""Partition the training images into clusters."""


def partition_features(wildcards):
    """The features that this partition is computed from."""
    return embedded_files(SPEC["partitions"][wildcards.partition]["encoder"])


def partition_like(wildcards):
    """The partition whose cluster sizes this one copies; none for most methods."""
    like = SPEC["partitions"][wildcards.partition]["method"].get("like")
    return [f"{R}/partition/{like}/assignments.parquet"] if like else []


def partition_spec(wildcards):
    """The part of the config that the job reads."""
    return job_spec(
        partition=wildcards.partition,
        method=SPEC["partitions"][wildcards.partition]["method"],
        num_clusters=PLAN["num_experts"][wildcards.partition],
    )


rule partition:
    input:
        index=INDEX,
        features=partition_features,
        like=partition_like,
    output:
        assignments=f"{R}/partition/{{partition}}/assignments.parquet",
        centroids=f"{R}/partition/{{partition}}/centroids.safetensors",
        report=f"{R}/partition/{{partition}}/report.parquet",
    log:
        f"{R}/logs/partition/{{partition}}.log",
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=partition_spec,
        code=code("partition"),
    message:
        "partition: compute {wildcards.partition}"
    shell:
        "python -m routing partition --in index={input.index} --in features={input.features}"
        " --in like={input.like} --out assignments={output.assignments}"
        " --out centroids={output.centroids} --out report={output.report}"
        " --spec {params.spec:q} --log {log}"
