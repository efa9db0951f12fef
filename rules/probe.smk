"""Evaluate all experts of a partition on one fixed set of noised held-out states."""


def probe_files(stem, suffix, partition, training_seed):
    """The files of one probe, in the order of its shards."""
    folder = f"{R}/probe/{partition}/{training_seed}"
    return [f"{folder}/{stem}-{i:05d}.{suffix}" for i in range(NUM_PROBE_SHARDS)]


def probe_experts(wildcards):
    """The weights of all experts of this partition."""
    return expert_files(wildcards.partition, wildcards.training_seed)


def probe_spec(wildcards):
    """The part of the config that the job reads."""
    return job_spec(
        probe=SPEC["probe"],
        partition=wildcards.partition,
        training_seed=int(wildcards.training_seed),
        first_state=int(wildcards.shard) * SPEC["probe"]["shard_size"],
    )


rule probe:
    input:
        samples=VALUES,
        index=INDEX,
        experts=probe_experts,
        tokens=lambda wildcards: caption_files(
            experts_read_captions(wildcards), "tokens"
        ),
        captions=lambda wildcards: caption_files(
            experts_read_captions(wildcards), "captions"
        ),
    output:
        gram=f"{R}/probe/{{partition}}/{{training_seed}}/gram-{{shard}}.safetensors",
        states=f"{R}/probe/{{partition}}/{{training_seed}}/states-{{shard}}.parquet",
    log:
        f"{R}/logs/probe/{{partition}}-{{training_seed}}-{{shard}}.log",
    wildcard_constraints:
        shard=one_of(f"{i:05d}" for i in range(NUM_PROBE_SHARDS)),
    priority: 8
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=probe_spec,
        code=code("probe"),
    message:
        "probe: evaluate the experts of partition {wildcards.partition}, training seed"
        " {wildcards.training_seed}, shard {wildcards.shard}"
    shell:
        "python -m routing probe --in samples={input.samples} --in index={input.index}"
        " --in experts={input.experts} --in tokens={input.tokens}"
        " --in captions={input.captions} --out gram={output.gram} --out states={output.states}"
        " --spec {params.spec:q} --log {log}"
