"""Sample every arm, one job for each training seed and shard of seeds."""


def arm_reads_captions(wildcards):
    """Whether the experts of this arm read encoded captions."""
    return reads_caption_tokens(
        SPEC["partitions"][arm_of(wildcards)["partition"]]["condition"]
    )


def arm_experts(wildcards):
    """The weights of all experts of the arm's partition."""
    return expert_files(arm_of(wildcards)["partition"], wildcards.training_seed)


def arm_router(wildcards):
    """The weights of the arm's router; none for a router without training."""
    arm = arm_of(wildcards)
    if arm["router"] not in PLAN["learned_routers"]:
        return []
    folder = f"{R}/router/{arm['partition']}/{arm['router']}/{wildcards.training_seed}"
    return [f"{folder}/weights.safetensors"]


def needs_pilot(wildcards):
    """Whether the policy of the arm calibrates a threshold on the probe (a pilot run)."""
    return arm_of(wildcards)["policy"] in PLAN["pilot_policies"]


def pilot_gram(wildcards):
    """The Gram matrices of the probe, for a pilot run."""
    of = arm_of(wildcards)["partition"], wildcards.training_seed
    return probe_files("gram", "safetensors", *of) if needs_pilot(wildcards) else []


def pilot_states(wildcards):
    """The states of the probe, for a pilot run."""
    of = arm_of(wildcards)["partition"], wildcards.training_seed
    return probe_files("states", "parquet", *of) if needs_pilot(wildcards) else []


def pilot_images(wildcards):
    """The images of the probe, for a pilot run."""
    return VALUES if needs_pilot(wildcards) else []


def arm_centroids(wildcards):
    """The centroids and cluster sizes of the arm's partition."""
    return f"{R}/partition/{arm_of(wildcards)['partition']}/centroids.safetensors"


def arm_encoder(wildcards):
    """The encoder of the arm's partition."""
    return encoder_file(SPEC["partitions"][arm_of(wildcards)["partition"]]["encoder"])


def samples_spec(wildcards):
    """The part of the config that the job reads."""
    arm, sizes = arm_of(wildcards), SPEC["samples"]
    return job_spec(
        arm_name=wildcards.arm,
        router=SPEC["routers"][arm["router"]],
        policy=SPEC["policies"][arm["policy"]],
        sampler=SPEC["samplers"][arm["sampler"]],
        guidance=SPEC["guidances"].get(arm["guidance"], {"name": "none"}),
        training_seed=int(wildcards.training_seed),
        first_seed=int(wildcards.shard) * sizes["shard_size"],
        num_seeds=sizes["shard_size"],
        batch_size=sizes["batch_size"],
        num_trajectories=sizes["num_trajectories"],
    )


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
        tokens=lambda wildcards: caption_files(arm_reads_captions(wildcards), "tokens"),
        captions=lambda wildcards: caption_files(
            arm_reads_captions(wildcards), "captions"
        ),
    output:
        samples=f"{R}/samples/{{arm}}/{{training_seed}}/samples-{{shard}}.safetensors",
        trace=f"{R}/samples/{{arm}}/{{training_seed}}/trace-{{shard}}.safetensors",
        trajectories=f"{R}/samples/{{arm}}/{{training_seed}}/trajectories-{{shard}}.safetensors",
        cost=f"{R}/samples/{{arm}}/{{training_seed}}/cost-{{shard}}.parquet",
    log:
        f"{R}/logs/samples/{{arm}}-{{training_seed}}-{{shard}}.log",
    wildcard_constraints:
        shard=one_of(seed_shards()),
    conda:
        "../envs/routing.yaml"
    threads: 1
    params:
        spec=samples_spec,
        code=code("samples"),
    message:
        "samples: arm {wildcards.arm}, training seed {wildcards.training_seed}, shard {wildcards.shard}"
    shell:
        "python -m routing samples --in index={input.index} --in experts={input.experts}"
        " --in router={input.router} --in centroids={input.centroids}"
        " --in encoder={input.encoder} --in gram={input.gram} --in states={input.states}"
        " --in images={input.images} --in tokens={input.tokens}"
        " --in captions={input.captions} --out samples={output.samples} --out trace={output.trace}"
        " --out trajectories={output.trajectories} --out cost={output.cost}"
        " --spec {params.spec:q} --log {log}"
