"""Features of the real images, in the space where partitions are made."""


rule embed:
    input:
        samples=f"{R}/data/samples-00000.safetensors",
        index=f"{R}/data/index.parquet",
    output:
        encoder=f"{R}/embed/{{encoder}}/encoder.safetensors",
        features=f"{R}/embed/{{encoder}}/features.safetensors",
    log:
        f"{R}/logs/embed/{{encoder}}.log",
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: part(encoder=SPEC["encoders"][wildcards.encoder]),
        code=code("embed"),
    message:
        "embed: features of encoder {wildcards.encoder}"
    shell:
        "python -m routing embed --in samples={input.samples} --in index={input.index}"
        " --out encoder={output.encoder} --out features={output.features}"
        " --spec {params.spec:q} --log {log}"
