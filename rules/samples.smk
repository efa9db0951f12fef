"""Every arm draws its samples: one job per arm, training and shard of seeds."""


rule samples:
    input:
        index=INDEX,
        experts=arm_experts,
        router=arm_router,
        centroids=arm_centroids,
        encoder=arm_encoder,
        gram=pilot_gram,
        states=pilot_states,
        images=pilot_images,
        tokens=lambda wildcards: caption_table(arm_told(wildcards), "tokens"),
        captions=lambda wildcards: caption_table(arm_told(wildcards), "captions"),
    output:
        samples=f"{R}/samples/{{arm}}/{{training_seed}}/samples-{{shard}}.safetensors",
        trace=f"{R}/samples/{{arm}}/{{training_seed}}/trace-{{shard}}.safetensors",
        trajectories=f"{R}/samples/{{arm}}/{{training_seed}}/trajectories-{{shard}}.safetensors",
        cost=f"{R}/samples/{{arm}}/{{training_seed}}/cost-{{shard}}.parquet",
    log:
        f"{R}/logs/samples/{{arm}}-{{training_seed}}-{{shard}}.log",
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=samples_spec,
        code=code("samples"),
    message:
        "samples: arm {wildcards.arm}, training {wildcards.training_seed}, shard {wildcards.shard}"
    shell:
        "python -m routing samples --in index={input.index} --in experts={input.experts}"
        " --in router={input.router} --in centroids={input.centroids}"
        " --in encoder={input.encoder} --in gram={input.gram} --in states={input.states}"
        " --in images={input.images} --in tokens={input.tokens}"
        " --in captions={input.captions} --out samples={output.samples} --out trace={output.trace}"
        " --out trajectories={output.trajectories} --out cost={output.cost}"
        " --spec {params.spec:q} --log {log}"
