"""A feature space: an encoder, fitted where it has anything to fit."""


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
        spec=lambda wildcards: part(encoder=SPEC["encoders"][wildcards.encoder]),
        code=code("fit_encoder"),
    message:
        "fit_encoder: fit {wildcards.encoder}"
    shell:
        "python -m routing fit_encoder --in samples={input.samples} --in index={input.index}"
        " --out encoder={output.encoder} --spec {params.spec:q} --log {log}"
