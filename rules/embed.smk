"""Embed the real images with a fitted encoder, one job for each shard."""


def embed_samples(wildcards):
    """The shard that this job embeds."""
    return shards_read_by(wildcards.encoder)[int(wildcards.shard)]


def embedded_files(encoder):
    """The features of all real samples under this encoder, in the order of the shards."""
    return [f"{R}/embed/{encoder}/features-{i}.safetensors" for i in DATA_SHARDS]


rule embed:
    input:
        encoder=f"{R}/fit_encoder/{{encoder}}/encoder.safetensors",
        samples=embed_samples,
    output:
        features=f"{R}/embed/{{encoder}}/features-{{shard}}.safetensors",
    log:
        f"{R}/logs/embed/{{encoder}}-{{shard}}.log",
    wildcard_constraints:
        shard=one_of(DATA_SHARDS),
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: job_spec(
            encoder=SPEC["encoders"][wildcards.encoder], shard=int(wildcards.shard)
        ),
        code=code("embed"),
    message:
        "embed: encoder {wildcards.encoder}, shard {wildcards.shard}"
    shell:
        "python -m routing embed --in encoder={input.encoder} --in samples={input.samples}"
        " --out features={output.features} --spec {params.spec:q} --log {log}"
