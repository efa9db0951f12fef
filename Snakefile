"""Routing among independently trained diffusion experts: the whole experiment as one graph."""

from snakemake.utils import min_version

min_version("9.27")

# An experiment file replaces the default instead of being merged into it.
if not workflow.overwrite_configfiles:

    configfile: "workflow_config.yaml"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/index.smk"
include: "rules/latents.smk"
include: "rules/text_embeddings.smk"
include: "rules/fit_encoder.smk"
include: "rules/embed.smk"
include: "rules/clip_score_captions.smk"
include: "rules/partition.smk"
include: "rules/experts.smk"
include: "rules/probe.smk"
include: "rules/router.smk"
include: "rules/samples.smk"
include: "rules/lpips.smk"
include: "rules/classifier.smk"
include: "rules/sample_features.smk"
include: "rules/reference_statistics.smk"
include: "rules/arm_metrics.smk"
include: "rules/metric_tables.smk"
include: "rules/figures.smk"
include: "rules/audit.smk"


onstart:
    lock_working_directory()
    remove_temporary_files()
    remove_local_job_rate_limit()


localrules:
    figures,
    gallery,
    audit,


rule figures:
    default_target: True
    input:
        figure_files(),


# `snakemake gallery --configfile FILE` renews the pictures of docs/figures.md from a finished run.
rule gallery:
    input:
        figure_files(),
    log:
        f"{R}/logs/gallery.log",
    conda:
        "envs/routing.yaml"
    shell:
        "python docs/gallery.py results 2>&1 | tee {log}"
