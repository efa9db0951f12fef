"""Train the experts, one job for each cluster."""


def experts_spec(wildcards):
    """The part of the config that the job reads."""
    return job_spec(
        expert=SPEC["experts"],
        partition=wildcards.partition,
        training_seed=int(wildcards.training_seed),
        cluster=int(wildcards.cluster),
        num_experts=PLAN["num_experts"][wildcards.partition],
        condition=SPEC["partitions"][wildcards.partition]["condition"],
    )


def expert_files(partition, training_seed):
    """The weights of all experts of a partition, for one training seed."""
    folder, num = (
        f"{R}/experts/{partition}/{training_seed}",
        PLAN["num_experts"][partition],
    )
    return [f"{folder}/{k}/weights.safetensors" for k in range(num)]


rule experts:
    input:
        samples=VALUES,
        index=INDEX,
        assignments=f"{R}/partition/{{partition}}/assignments.parquet",
        tokens=lambda wildcards: caption_files(
            experts_read_captions(wildcards), "tokens"
        ),
        captions=lambda wildcards: caption_files(
            experts_read_captions(wildcards), "captions"
        ),
    output:
        weights=f"{R}/experts/{{partition}}/{{training_seed}}/{{cluster}}/weights.safetensors",
        loss=f"{R}/experts/{{partition}}/{{training_seed}}/{{cluster}}/loss.parquet",
    log:
        f"{R}/logs/experts/{{partition}}-{{training_seed}}-{{cluster}}.log",
    priority: 10
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=experts_spec,
        code=code("experts"),
    message:
        "experts: train expert {wildcards.cluster} of partition {wildcards.partition},"
        " training seed {wildcards.training_seed}"
    shell:
        "python -m routing experts --in samples={input.samples} --in index={input.index}"
        " --in assignments={input.assignments} --in tokens={input.tokens}"
        " --in captions={input.captions} --out weights={output.weights}"
        " --out loss={output.loss} --spec {params.spec:q} --log {log}"
