"""What the metrics of a space know of the real images, fitted once."""


rule reference_statistics:
    input:
        index=INDEX,
        real=lambda wildcards: real_features(wildcards.feature_space),
        assignments=f"{SHARES}/assignments.parquet",
    output:
        references=f"{R}/reference_statistics/{{feature_space}}/references.safetensors",
        heldout=f"{R}/reference_statistics/{{feature_space}}/heldout.safetensors",
    log:
        f"{R}/logs/reference_statistics/{{feature_space}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=reference_statistics_spec,
        code=code("reference_statistics"),
    message:
        "reference_statistics: the real images in {wildcards.feature_space}"
    shell:
        "python -m routing reference_statistics --in index={input.index} --in real={input.real}"
        " --in assignments={input.assignments} --out references={output.references}"
        " --out heldout={output.heldout} --spec {params.spec:q} --log {log}"
