"""The captions of the data in the space of a CLIP, for CLIP scores."""


rule clip_captions:
    input:
        encoder=f"{R}/fit_encoder/{{encoder}}/encoder.safetensors",
        index=INDEX,
    output:
        features=f"{R}/clip_captions/{{encoder}}/features.safetensors",
        captions=f"{R}/clip_captions/{{encoder}}/captions.parquet",
    log:
        f"{R}/logs/clip_captions/{{encoder}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: part(encoder=wildcards.encoder),
        code=code("clip_captions"),
    message:
        "clip_captions: captions in the space of {wildcards.encoder}"
    shell:
        "python -m routing clip_captions --in encoder={input.encoder} --in index={input.index}"
        " --out features={output.features} --out captions={output.captions}"
        " --spec {params.spec:q} --log {log}"
