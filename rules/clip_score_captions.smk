"""Embed the captions with the text tower of a CLIP, for CLIP scores."""


def clip_score_captions_files(stem, suffix):
    """One file for each CLIP whose score is measured."""
    return [
        f"{R}/clip_score_captions/{space}/{stem}.{suffix}"
        for space in PLAN["caption_feature_spaces"]
    ]


rule clip_score_captions:
    input:
        encoder=f"{R}/fit_encoder/{{encoder}}/encoder.safetensors",
        index=INDEX,
    output:
        features=f"{R}/clip_score_captions/{{encoder}}/features.safetensors",
        captions=f"{R}/clip_score_captions/{{encoder}}/captions.parquet",
    log:
        f"{R}/logs/clip_score_captions/{{encoder}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: job_spec(encoder=wildcards.encoder),
        code=code("clip_score_captions"),
    message:
        "clip_score_captions: embed the captions with {wildcards.encoder}"
    shell:
        "python -m routing clip_score_captions --in encoder={input.encoder} --in index={input.index}"
        " --out features={output.features} --out captions={output.captions}"
        " --spec {params.spec:q} --log {log}"
