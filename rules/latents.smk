"""Encode the images as latents of an autoencoder, one job for each shard."""


rule latents:
    input:
        samples=f"{DATA}/samples-{{shard}}.safetensors",
    output:
        samples=f"{R}/latents/samples-{{shard}}.safetensors",
    log:
        f"{R}/logs/latents/{{shard}}.log",
    wildcard_constraints:
        shard=one_of(DATA_SHARDS),
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: job_spec(
            autoencoder=SPEC["autoencoder"], shard=int(wildcards.shard)
        ),
        code=code("latents"),
    message:
        "latents: encode shard {wildcards.shard}"
    shell:
        "python -m routing latents --in samples={input.samples} --out samples={output.samples}"
        " --spec {params.spec:q} --log {log}"
