"""Encode each distinct caption once with the text encoder."""


def reads_caption_tokens(condition):
    """Whether networks under this condition read encoded captions."""
    return (
        condition == "text"
        and SPEC["text_encoder"]["name"] in PLAN["precomputed_text_encoders"]
    )


def caption_files(is_read, stem):
    """The encoded captions (tokens) or their texts (captions), for jobs that read them."""
    suffix = {"tokens": "safetensors", "captions": "parquet"}[stem]
    return (
        [f"{R}/text_embeddings/{SPEC['text_encoder']['name']}/{stem}.{suffix}"]
        if is_read
        else []
    )


def experts_read_captions(wildcards):
    """Whether the experts of this partition read encoded captions."""
    return reads_caption_tokens(SPEC["partitions"][wildcards.partition]["condition"])


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
        spec=job_spec(text_encoder=SPEC["text_encoder"]),
        code=code("text_embeddings"),
    message:
        "text_embeddings: encode the captions with {wildcards.text_encoder}"
    shell:
        "python -m routing text_embeddings --in index={input.index} --out tokens={output.tokens}"
        " --out captions={output.captions} --spec {params.spec:q} --log {log}"
