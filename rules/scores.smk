"""Every metric of one arm, with its replicates; held-out real images are one more arm."""


rule scores:
    input:
        index=INDEX,
        features=set_features,
        references=[
            f"{R}/references/{space}/references.safetensors" for space in SPACES
        ],
        real=[file for space in SEARCHED for file in real_features(space)],
        centroids=f"{SHARES}/centroids.safetensors",
        phrases=phrases_of("features", "safetensors"),
        captions=phrases_of("captions", "parquet"),
        perceptual=set_perceptual("scores"),
        pairs=set_perceptual("pairs"),
    output:
        replicates=f"{R}/scores/{{set}}/replicates.parquet",
        bootstrap=f"{R}/scores/{{set}}/bootstrap.parquet",
        scores=f"{R}/scores/{{set}}/scores.parquet",
    log:
        f"{R}/logs/scores/{{set}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=scores_spec,
        code=code("scores"),
    message:
        "scores: arm {wildcards.set} against the real images"
    shell:
        "python -m routing scores --in index={input.index} --in features={input.features}"
        " --in references={input.references} --in real={input.real}"
        " --in centroids={input.centroids}"
        " --in phrases={input.phrases} --in captions={input.captions}"
        " --in perceptual={input.perceptual} --in pairs={input.pairs}"
        " --out replicates={output.replicates} --out bootstrap={output.bootstrap}"
        " --out scores={output.scores} --spec {params.spec:q} --log {log}"
