"""Learned posteriors over the experts of a partition."""


rule router:
    input:
        samples=f"{R}/data/samples-00000.safetensors",
        index=f"{R}/data/index.parquet",
        assignments=f"{R}/partition/{{partition}}/assignments.parquet",
    output:
        weights=f"{R}/router/{{partition}}/{{router}}/weights.safetensors",
        loss=f"{R}/router/{{partition}}/{{router}}/loss.parquet",
        report=f"{R}/router/{{partition}}/{{router}}/report.parquet",
    log:
        f"{R}/logs/router/{{partition}}-{{router}}.log",
    priority: 5
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=router_spec,
        code=code("router"),
    message:
        "router: train {wildcards.router} for partition {wildcards.partition}"
    shell:
        "python -m routing router --in samples={input.samples} --in index={input.index}"
        " --in assignments={input.assignments} --out weights={output.weights}"
        " --out loss={output.loss} --out report={output.report}"
        " --spec {params.spec:q} --log {log}"
