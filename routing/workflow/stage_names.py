"""The stages of the pipeline, in the order of the data flow, and the rules that run them.

A stage has one name: the module in `routing/stages/`, the rule file in `rules/`, the folder under
results/<run>/ and the argument of `python -m routing`.
"""

STAGES = (
    "data",
    "index",
    "latents",
    "text_embeddings",
    "fit_encoder",
    "embed",
    "clip_score_captions",
    "partition",
    "experts",
    "probe",
    "router",
    "samples",
    "lpips",
    "classifier",
    "sample_features",
    "reference_statistics",
    "arm_metrics",
    "metric_tables",
    "figures",
    "audit",
)
RULES = {  # stages whose rules have other names
    "sample_features": ("sample_features", "real_features"),
    "lpips": ("lpips", "real_lpips"),
    "figures": ("figure", "table"),
}


def rules(stage: str) -> tuple[str, ...]:
    """Return the names of the Snakemake rules that run `stage`."""
    return RULES.get(stage, (stage,))
