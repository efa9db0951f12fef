"""The captions as tokens of a text encoder, each distinct one encoded once."""


rule text_embeddings:
    input:
        index=INDEX,
    output:
        tokens=f"{R}/text_embeddings/{{text_encoder}}/tokens.safetensors",
        captions=f"{R}/text_embeddings/{{text_encoder}}/captions.parquet",
    log:
        f"{R}/logs/text_embeddings/{{text_encoder}}.log",
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=part(text_encoder=SPEC["text_encoder"]),
        code=code("text_embeddings"),
    message:
        "text_embeddings: encode them with {wildcards.text_encoder}"
    shell:
        "python -m routing text_embeddings --in index={input.index} --out tokens={output.tokens}"
        " --out captions={output.captions} --spec {params.spec:q} --log {log}"
