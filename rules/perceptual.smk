"""LPIPS of each arm's samples: to the reference arm's, and to each other."""


rule perceptual:
    input:
        samples=[
            f"{R}/samples/{{arm}}/{training}/samples-{i}.safetensors"
            for training in TRAININGS
            for i in shards()
        ],
        baseline=perceptual_baseline,
        index=perceptual_index,
    output:
        scores=f"{R}/perceptual/{{arm}}/scores.parquet",
        pairs=f"{R}/perceptual/{{arm}}/pairs.parquet",
    log:
        f"{R}/logs/perceptual/{{arm}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: perceptual_spec(wildcards.arm, len(TRAININGS)),
        code=code("perceptual"),
    message:
        "perceptual: distances within arm {wildcards.arm}"
    shell:
        "python -m routing perceptual --in samples={input.samples}"
        " --in baseline={input.baseline} --in index={input.index}"
        " --out scores={output.scores} --out pairs={output.pairs}"
        " --spec {params.spec:q} --log {log}"


rule real_perceptual:
    input:
        samples=IMAGES,
        index=INDEX,
    output:
        scores=f"{R}/perceptual/heldout/scores.parquet",
        pairs=f"{R}/perceptual/heldout/pairs.parquet",
    log:
        f"{R}/logs/perceptual/heldout.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: perceptual_spec("heldout", 1),
        code=code("perceptual"),
    message:
        "perceptual: distances within the held-out real images"
    shell:
        "python -m routing perceptual --in samples={input.samples} --in baseline="
        " --in index={input.index} --out scores={output.scores} --out pairs={output.pairs}"
        " --spec {params.spec:q} --log {log}"
