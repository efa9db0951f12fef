"""The images: a source becomes shards and an index."""


rule data:
    output:
        samples=f"{R}/data/samples-00000.safetensors",
        index=f"{R}/data/index.parquet",
    log:
        f"{R}/logs/data.log",
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=part(**SPEC["data"]),
        code=code("data"),
    message:
        "data: read the source"
    shell:
        "python -m routing data --out samples={output.samples} --out index={output.index}"
        " --spec {params.spec:q} --log {log}"
