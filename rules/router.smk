"""Train the learned routers."""


def router_reads_captions(wildcards):
    """Whether this router reads encoded captions."""
    return reads_caption_tokens(SPEC["routers"][wildcards.router]["condition"])


def router_start(wildcards):
    """The weights that training starts from; none for a random start."""
    start = SPEC["routers"][wildcards.router]["start"]
    folder = f"{R}/router/{wildcards.partition}/{start}/{wildcards.training_seed}"
    return [f"{folder}/weights.safetensors"] if start else []


def router_gram(wildcards):
    """The Gram matrices of the probe."""
    return probe_files(
        "gram", "safetensors", wildcards.partition, wildcards.training_seed
    )


def router_states(wildcards):
    """The states of the probe."""
    return probe_files(
        "states", "parquet", wildcards.partition, wildcards.training_seed
    )


def router_spec(wildcards):
    """The part of the config that the job reads."""
    return job_spec(
        router_name=wildcards.router,
        router=SPEC["routers"][wildcards.router],
        partition=wildcards.partition,
        training_seed=int(wildcards.training_seed),
        num_experts=PLAN["num_experts"][wildcards.partition],
    )


rule router:
    input:
        samples=VALUES,
        index=INDEX,
        assignments=f"{R}/partition/{{partition}}/assignments.parquet",
        gram=router_gram,
        states=router_states,
        start=router_start,
        tokens=lambda wildcards: caption_files(
            router_reads_captions(wildcards), "tokens"
        ),
        captions=lambda wildcards: caption_files(
            router_reads_captions(wildcards), "captions"
        ),
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
        " seed {wildcards.training_seed}"
    shell:
        "python -m routing router --in samples={input.samples} --in index={input.index}"
        " --in assignments={input.assignments} --in gram={input.gram} --in states={input.states}"
        " --in start={input.start} --in tokens={input.tokens} --in captions={input.captions}"
        " --out weights={output.weights} --out loss={output.loss}"
        " --out report={output.report} --out reliability={output.reliability}"
        " --spec {params.spec:q} --log {log}"
