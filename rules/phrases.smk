"""The captions of the data in the space of a CLIP, for CLIP scores."""


rule phrases:
    input:
        encoder=f"{R}/encoder/{{encoder}}/encoder.safetensors",
        index=INDEX,
    output:
        features=f"{R}/phrases/{{encoder}}/features.safetensors",
        captions=f"{R}/phrases/{{encoder}}/captions.parquet",
    log:
        f"{R}/logs/phrases/{{encoder}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: part(encoder=wildcards.encoder),
        code=code("phrases"),
    message:
        "phrases: captions in the space of {wildcards.encoder}"
    shell:
        "python -m routing phrases --in encoder={input.encoder} --in index={input.index}"
        " --out features={output.features} --out captions={output.captions}"
        " --spec {params.spec:q} --log {log}"
