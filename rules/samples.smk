"""Every arm draws its samples: one job per arm and shard of seeds."""


rule samples:
    input:
        experts=arm_experts,
        router=arm_router,
        centroids=arm_centroids,
        encoder=arm_encoder,
    output:
        samples=f"{R}/samples/{{arm}}/samples-{{shard}}.safetensors",
        trace=f"{R}/samples/{{arm}}/trace-{{shard}}.safetensors",
        trajectories=f"{R}/samples/{{arm}}/trajectories-{{shard}}.safetensors",
        bill=f"{R}/samples/{{arm}}/bill-{{shard}}.parquet",
    log:
        f"{R}/logs/samples/{{arm}}-{{shard}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=samples_spec,
        code=code("samples"),
    message:
        "samples: arm {wildcards.arm}, shard {wildcards.shard}"
    shell:
        "python -m routing samples --in experts={input.experts} --in router={input.router}"
        " --in centroids={input.centroids} --in encoder={input.encoder}"
        " --out samples={output.samples} --out trace={output.trace}"
        " --out trajectories={output.trajectories} --out bill={output.bill}"
        " --spec {params.spec:q} --log {log}"
