"""What all experts of a partition say on one fixed set of noised held-out states."""


rule probe:
    input:
        samples=VALUES,
        index=INDEX,
        experts=probed_experts,
        tokens=lambda wildcards: caption_table(partition_told(wildcards), "tokens"),
        captions=lambda wildcards: caption_table(partition_told(wildcards), "captions"),
    output:
        gram=f"{R}/probe/{{partition}}/{{training_seed}}/gram-{{shard}}.safetensors",
        states=f"{R}/probe/{{partition}}/{{training_seed}}/states-{{shard}}.parquet",
    log:
        f"{R}/logs/probe/{{partition}}-{{training_seed}}-{{shard}}.log",
    priority: 8
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=probe_spec,
        code=code("probe"),
    message:
        "probe: ask the experts of partition {wildcards.partition}, training"
        " {wildcards.training_seed}, shard {wildcards.shard}"
    shell:
        "python -m routing probe --in samples={input.samples} --in index={input.index}"
        " --in experts={input.experts} --in tokens={input.tokens}"
        " --in captions={input.captions} --out gram={output.gram} --out states={output.states}"
        " --spec {params.spec:q} --log {log}"
