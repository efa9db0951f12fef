"""LPIPS of each arm's samples: to the reference arm's, and to each other."""


rule lpips:
    input:
        samples=[
            f"{R}/samples/{{arm}}/{training}/samples-{i}.safetensors"
            for training in TRAINING_SEEDS
            for i in shards()
        ],
        baseline=lpips_baseline,
        index=lpips_index,
    output:
        scores=f"{R}/lpips/{{arm}}/scores.parquet",
        pairs=f"{R}/lpips/{{arm}}/pairs.parquet",
    log:
        f"{R}/logs/lpips/{{arm}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: lpips_spec(wildcards.arm, len(TRAINING_SEEDS)),
        code=code("lpips"),
    message:
        "lpips: distances within arm {wildcards.arm}"
    shell:
        "python -m routing lpips --in samples={input.samples}"
        " --in baseline={input.baseline} --in index={input.index}"
        " --out scores={output.scores} --out pairs={output.pairs}"
        " --spec {params.spec:q} --log {log}"


rule real_lpips:
    input:
        samples=IMAGES,
        index=INDEX,
    output:
        scores=f"{R}/lpips/heldout/scores.parquet",
        pairs=f"{R}/lpips/heldout/pairs.parquet",
    log:
        f"{R}/logs/lpips/heldout.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: lpips_spec("heldout", 1),
        code=code("lpips"),
    message:
        "lpips: distances within the held-out real images"
    shell:
        "python -m routing lpips --in samples={input.samples} --in baseline="
        " --in index={input.index} --out scores={output.scores} --out pairs={output.pairs}"
        " --spec {params.spec:q} --log {log}"
