"""The captions as tokens of a text encoder, each distinct one encoded once."""


rule captions:
    input:
        index=INDEX,
    output:
        tokens=f"{R}/captions/{{text}}/tokens.safetensors",
        captions=f"{R}/captions/{{text}}/captions.parquet",
    log:
        f"{R}/logs/captions/{{text}}.log",
    priority: 20
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=part(text=SPEC["text"]),
        code=code("captions"),
    message:
        "captions: encode them with {wildcards.text}"
    shell:
        "python -m routing captions --in index={input.index} --out tokens={output.tokens}"
        " --out captions={output.captions} --spec {params.spec:q} --log {log}"
