"""A division of the training images into clusters."""


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
        "partition: divide the images, {wildcards.partition}"
    shell:
        "python -m routing partition --in index={input.index} --in features={input.features}"
        " --in like={input.like} --out assignments={output.assignments}"
        " --out centroids={output.centroids} --out report={output.report}"
        " --spec {params.spec:q} --log {log}"
