"""Every artifact of the run against its checksum, its inputs and the code."""


rule audit:
    log:
        f"{R}/logs/audit.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=json.dumps({"root": R}),
        code=code("audit"),
    message:
        "audit: check every artifact under results/{RUN}"
    shell:
        "python -m routing audit --spec {params.spec:q} --log {log}"
