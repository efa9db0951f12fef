"""Read the source of the images, one job for each shard."""


rule data:
    output:
        samples=f"{DATA}/samples-{{shard}}.safetensors",
        rows=f"{DATA}/rows-{{shard}}.parquet",
        rejected=f"{DATA}/rejected-{{shard}}.parquet",
    log:
        f"{R}/logs/data/{{shard}}.log",
    wildcard_constraints:
        shard=one_of(DATA_SHARDS),
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 2
    params:
        spec=lambda wildcards: job_spec(
            source=SPEC["data"]["source"],
            image=SPEC["data"]["image"],
            shard=int(wildcards.shard),
            num_shards=len(DATA_SHARDS),
        ),
        code=code("data"),
    message:
        "data: read shard {wildcards.shard} of the source"
    shell:
        "python -m routing data --out samples={output.samples} --out rows={output.rows}"
        " --out rejected={output.rejected} --spec {params.spec:q} --log {log}"
