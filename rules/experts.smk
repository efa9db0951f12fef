"""One velocity field per cluster, each trained alone."""


rule experts:
    input:
        samples=VALUES,
        index=INDEX,
        assignments=f"{R}/partition/{{partition}}/assignments.parquet",
        tokens=lambda wildcards: caption_table(partition_told(wildcards), "tokens"),
        captions=lambda wildcards: caption_table(partition_told(wildcards), "captions"),
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
        spec=expert_spec,
        code=code("experts"),
    message:
        "experts: train expert {wildcards.cluster} of partition {wildcards.partition},"
        " training {wildcards.training_seed}"
    shell:
        "python -m routing experts --in samples={input.samples} --in index={input.index}"
        " --in assignments={input.assignments} --in tokens={input.tokens}"
        " --in captions={input.captions} --out weights={output.weights}"
        " --out loss={output.loss} --spec {params.spec:q} --log {log}"
