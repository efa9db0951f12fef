"""Every sample set, and the real images, embedded once per feature space."""


rule sample_features:
    input:
        maker=space_maker,
        samples=[
            f"{R}/samples/{{arm}}/{training}/samples-{i}.safetensors"
            for training in TRAINING_SEEDS
            for i in shards()
        ],
    output:
        features=f"{R}/sample_features/{{feature_space}}/{{arm}}.safetensors",
    log:
        f"{R}/logs/sample_features/{{feature_space}}-{{arm}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=sample_features_spec,
        code=code("sample_features"),
        kind=space_kind,
    message:
        "sample_features: arm {wildcards.arm} in {wildcards.feature_space}"
    shell:
        "python -m routing sample_features --in samples={input.samples}"
        " --in {params.kind}={input.maker} --out features={output.features}"
        " --spec {params.spec:q} --log {log}"


rule real_features:
    input:
        maker=space_maker,
        samples=lambda wildcards: IMAGES[int(wildcards.shard)],
    output:
        features=f"{R}/sample_features/{{feature_space}}/data-{{shard}}.safetensors",
    log:
        f"{R}/logs/sample_features/{{feature_space}}-data-{{shard}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: part(
            feature_space=wildcards.feature_space,
            sample_set="data",
            autoencoder=None,
            shard=int(wildcards.shard),
        ),
        code=code("sample_features"),
        kind=space_kind,
    message:
        "sample_features: the real images in {wildcards.feature_space}, shard {wildcards.shard}"
    shell:
        "python -m routing sample_features --in samples={input.samples}"
        " --in {params.kind}={input.maker} --out features={output.features}"
        " --spec {params.spec:q} --log {log}"
