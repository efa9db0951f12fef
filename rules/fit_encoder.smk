"""Fit the encoder of a feature space."""


def shards_read_by(encoder):
    """The shards that this encoder reads: images or latents."""
    return VALUES if SPEC["encoders"][encoder].get("reads") == "latents" else IMAGES


def encoder_samples(wildcards):
    """The samples from which those to fit on are drawn."""
    return shards_read_by(wildcards.encoder)


def encoder_file(encoder):
    """The fitted encoder."""
    return f"{R}/fit_encoder/{encoder}/encoder.safetensors"


rule fit_encoder:
    input:
        samples=encoder_samples,
        index=INDEX,
    output:
        encoder=f"{R}/fit_encoder/{{encoder}}/encoder.safetensors",
    log:
        f"{R}/logs/fit_encoder/{{encoder}}.log",
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: job_spec(encoder=SPEC["encoders"][wildcards.encoder]),
        code=code("fit_encoder"),
    message:
        "fit_encoder: fit {wildcards.encoder}"
    shell:
        "python -m routing fit_encoder --in samples={input.samples} --in index={input.index}"
        " --out encoder={output.encoder} --spec {params.spec:q} --log {log}"
