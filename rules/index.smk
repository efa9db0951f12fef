"""Join the rows of all shards into one index and split off the held-out images."""


rule index:
    input:
        rows=[f"{DATA}/rows-{i}.parquet" for i in DATA_SHARDS],
        rejected=[f"{DATA}/rejected-{i}.parquet" for i in DATA_SHARDS],
    output:
        index=INDEX,
        rejected=f"{R}/index/rejected.parquet",
    log:
        f"{R}/logs/index.log",
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=job_spec(
            heldout_fraction=SPEC["data"]["heldout_fraction"],
            max_rejected_fraction=SPEC["data"]["max_rejected_fraction"],
        ),
        code=code("index"),
    message:
        "index: join the rows of all shards"
    shell:
        "python -m routing index --in rows={input.rows} --in rejected={input.rejected}"
        " --out index={output.index} --out rejected={output.rejected}"
        " --spec {params.spec:q} --log {log}"
