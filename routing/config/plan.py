"""The plan: what the Snakemake rules must know about the choices of a config.

Rules read it from the resolved config, so that they need not import the tables of choices.
"""

from routing.config.registries import ROUTERS
from routing.data.decoding import ImageRule
from routing.ensemble.policies import POLICIES, required_pilot_fields
from routing.figures.registry import FIGURES
from routing.metrics.clip_score import CLIPScore
from routing.metrics.registry import METRICS
from routing.pretrained.text_encoders import TEXT_ENCODERS
from routing.workflow import choices


def plan(spec: dict) -> dict:
    """Return the plan of the config `spec`, which has every default written out.

    image_rule                 name of the rule for encoded images, or "native"
    precomputed_text_encoders  text encoders whose tokens are computed in a stage of their own
    num_experts                number of experts K, by partition
    learned_routers            routers that are trained
    pilot_policies             policies that need a pilot run: their inputs on held-out states,
                               used to calibrate thresholds
    feature_spaces             feature spaces of the metrics, first that of the cluster shares
    caption_feature_spaces     feature spaces in which captions are compared with samples
    figure_inputs              the inputs of every figure
    figure_formats             the file formats of every figure
    """
    routers = choices.with_plugins("routers", ROUTERS)
    policies = choices.with_plugins("policies", POLICIES)
    table = choices.with_plugins("figures", FIGURES)
    figures = {name: table[figure["name"]] for name, figure in spec["figures"].items()}
    image, texts = spec["data"]["image"], choices.with_plugins("text_encoders", TEXT_ENCODERS)
    chosen = spec["text_encoder"]["name"]  # other rows of other packages may be broken
    return {
        "image_rule": ImageRule(**image).name if image else "native",
        "precomputed_text_encoders": sorted(
            name
            for name, text in {**TEXT_ENCODERS, chosen: texts[chosen]}.items()
            if text.is_precomputed
        ),
        "num_experts": num_experts(spec["partitions"]),
        "learned_routers": sorted(
            n for n, r in spec["routers"].items() if routers[r["name"]].learned
        ),
        "pilot_policies": sorted(
            n
            for n, p in spec["policies"].items()
            if required_pilot_fields(choices.build(policies, p, f"policies.{n}"))
        ),
        "feature_spaces": feature_spaces(spec),
        "caption_feature_spaces": caption_feature_spaces(spec),
        "figure_inputs": {name: list(figure.needs) for name, figure in figures.items()},
        "figure_formats": {name: list(figure.formats) for name, figure in figures.items()},
    }


def num_experts(partitions: dict[str, dict]) -> dict[str, int]:
    """Return the number of experts K of each partition.

    A random partition has as many as the partition that its option `like` names.
    """
    methods = {name: partition["method"] for name, partition in partitions.items()}
    return {n: methods[m.get("like", n)]["num_clusters"] for n, m in methods.items()}


def feature_spaces(spec: dict) -> list[str]:
    """Return the feature spaces of all metrics, first that of `metrics.shares_partition`."""
    metrics = spec["metrics"]
    first = spec["partitions"][metrics["shares_partition"]]["encoder"]
    others = [
        metric["feature_space"] or metrics["feature_space"]
        for metric in metrics["list"]
        if "feature_space" in metric
    ]
    return list(dict.fromkeys([first, *others]))


def caption_feature_spaces(spec: dict) -> list[str]:
    """Return the feature spaces in which captions are compared with samples."""
    metrics, table = spec["metrics"], choices.with_plugins("metrics", METRICS)
    found = [m for m in metrics["list"] if table[m["name"]] is CLIPScore]
    return list(dict.fromkeys(m["feature_space"] or metrics["feature_space"] for m in found))
