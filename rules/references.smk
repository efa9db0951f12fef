"""What the metrics of a space know of the real images, fitted once."""


rule references:
    input:
        index=INDEX,
        real=lambda wildcards: real_features(wildcards.space),
        assignments=f"{SHARES}/assignments.parquet",
    output:
        references=f"{R}/references/{{space}}/references.safetensors",
        heldout=f"{R}/references/{{space}}/heldout.safetensors",
    log:
        f"{R}/logs/references/{{space}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=references_spec,
        code=code("references"),
    message:
        "references: the real images in {wildcards.space}"
    shell:
        "python -m routing references --in index={input.index} --in real={input.real}"
        " --in assignments={input.assignments} --out references={output.references}"
        " --out heldout={output.heldout} --spec {params.spec:q} --log {log}"
