"""Learned posteriors over the experts of a partition."""


rule router:
    input:
        samples=VALUES,
        index=INDEX,
        assignments=f"{R}/partition/{{partition}}/assignments.parquet",
        gram=router_gram,
        states=router_states,
        start=router_start,
        tokens=lambda wildcards: caption_table(router_told(wildcards), "tokens"),
        captions=lambda wildcards: caption_table(router_told(wildcards), "captions"),
    output:
        weights=f"{R}/router/{{partition}}/{{router}}/{{training_seed}}/weights.safetensors",
        loss=f"{R}/router/{{partition}}/{{router}}/{{training_seed}}/loss.parquet",
        report=f"{R}/router/{{partition}}/{{router}}/{{training_seed}}/report.parquet",
        reliability=f"{R}/router/{{partition}}/{{router}}/{{training_seed}}/reliability.parquet",
    log:
        f"{R}/logs/router/{{partition}}-{{router}}-{{training_seed}}.log",
    priority: 5
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=router_spec,
        code=code("router"),
    message:
        "router: train {wildcards.router} for partition {wildcards.partition}, training"
        " {wildcards.training_seed}"
    shell:
        "python -m routing router --in samples={input.samples} --in index={input.index}"
        " --in assignments={input.assignments} --in gram={input.gram} --in states={input.states}"
        " --in start={input.start} --in tokens={input.tokens} --in captions={input.captions}"
        " --out weights={output.weights} --out loss={output.loss}"
        " --out report={output.report} --out reliability={output.reliability}"
        " --spec {params.spec:q} --log {log}"
