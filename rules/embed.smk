"""Features of the real images, in the space where partitions are made, a job per shard."""


rule embed:
    input:
        encoder=f"{R}/fit_encoder/{{encoder}}/encoder.safetensors",
        samples=embed_samples,
    output:
        features=f"{R}/embed/{{encoder}}/features-{{shard}}.safetensors",
    log:
        f"{R}/logs/embed/{{encoder}}-{{shard}}.log",
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: part(
            encoder=SPEC["encoders"][wildcards.encoder], shard=int(wildcards.shard)
        ),
        code=code("embed"),
    message:
        "embed: features of encoder {wildcards.encoder}, shard {wildcards.shard}"
    shell:
        "python -m routing embed --in encoder={input.encoder} --in samples={input.samples}"
        " --out features={output.features} --spec {params.spec:q} --log {log}"
