"""Embed the samples of every arm, and the real images, once for each feature space."""


def feature_network_file(wildcards):
    """The fitted encoder or trained classifier of the feature space."""
    if wildcards.feature_space in SPEC["encoders"]:
        return encoder_file(wildcards.feature_space)
    return f"{R}/classifier/{wildcards.feature_space}/weights.safetensors"


def feature_network_kind(wildcards):
    """The name of that input: encoder or classifier."""
    return "encoder" if wildcards.feature_space in SPEC["encoders"] else "classifier"


def sample_features_spec(wildcards):
    """The part of the config that the job reads. An encoder that reads latents gets no decoder."""
    reads = SPEC["encoders"].get(wildcards.feature_space, {}).get("reads")
    autoencoder = None if reads == "latents" else SPEC["autoencoder"]
    return job_spec(
        feature_space=wildcards.feature_space,
        sample_set=wildcards.arm,
        autoencoder=autoencoder,
        shard_size=SPEC["samples"]["shard_size"],
    )


def real_feature_files(feature_space):
    """The features of the real images, in the order of the shards; rule embed makes those of an
    encoder."""
    if feature_space in SPEC["encoders"]:
        return embedded_files(feature_space)
    return [
        f"{R}/sample_features/{feature_space}/data-{i}.safetensors" for i in DATA_SHARDS
    ]


rule sample_features:
    input:
        maker=feature_network_file,
        samples=[
            f"{R}/samples/{{arm}}/{training}/samples-{i}.safetensors"
            for training in TRAINING_SEEDS
            for i in seed_shards()
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
        kind=feature_network_kind,
    message:
        "sample_features: arm {wildcards.arm} in {wildcards.feature_space}"
    shell:
        "python -m routing sample_features --in samples={input.samples}"
        " --in {params.kind}={input.maker} --out features={output.features}"
        " --spec {params.spec:q} --log {log}"


rule real_features:
    input:
        maker=feature_network_file,
        samples=lambda wildcards: IMAGES[int(wildcards.shard)],
    output:
        features=f"{R}/sample_features/{{feature_space}}/data-{{shard}}.safetensors",
    log:
        f"{R}/logs/sample_features/{{feature_space}}-data-{{shard}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=lambda wildcards: job_spec(
            feature_space=wildcards.feature_space,
            sample_set="data",
            autoencoder=None,
            shard=int(wildcards.shard),
        ),
        code=code("sample_features"),
        kind=feature_network_kind,
    message:
        "sample_features: the real images in {wildcards.feature_space}, shard {wildcards.shard}"
    shell:
        "python -m routing sample_features --in samples={input.samples}"
        " --in {params.kind}={input.maker} --out features={output.features}"
        " --spec {params.spec:q} --log {log}"
