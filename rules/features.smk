"""Every sample set, and the real images, embedded once per feature space."""


rule features:
    input:
        maker=space_maker,
        samples=[
            f"{R}/samples/{{arm}}/{training}/samples-{i}.safetensors"
            for training in TRAININGS
            for i in shards()
        ],
    output:
        features=f"{R}/features/{{space}}/{{arm}}.safetensors",
    log:
        f"{R}/logs/features/{{space}}-{{arm}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=features_spec,
        code=code("features"),
        kind=space_kind,
    message:
        "features: arm {wildcards.arm} in {wildcards.space}"
    shell:
        "python -m routing features --in samples={input.samples}"
        " --in {params.kind}={input.maker} --out features={output.features}"
        " --spec {params.spec:q} --log {log}"


rule real_features:
    input:
        maker=space_maker,
        samples=lambda wildcards: IMAGES[int(wildcards.shard)],
    output:
        features=f"{R}/features/{{space}}/data-{{shard}}.safetensors",
    log:
        f"{R}/logs/features/{{space}}-data-{{shard}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: part(
            space=wildcards.space, set="data", codec=None, shard=int(wildcards.shard)
        ),
        code=code("features"),
        kind=space_kind,
    message:
        "features: the real images in {wildcards.space}, shard {wildcards.shard}"
    shell:
        "python -m routing features --in samples={input.samples}"
        " --in {params.kind}={input.maker} --out features={output.features}"
        " --spec {params.spec:q} --log {log}"
