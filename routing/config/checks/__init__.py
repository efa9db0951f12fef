"""What no single key of a config can show: references, counts and combinations.

`check` takes a config whose keys are all in order (names known, types right, defaults written
out) and raises ValueError on the first thing that could not run: one line, key first, with what
was wanted, what was got and the remedy. Nothing is read: what only the data can tell (an empty
cluster, an image that patches do not divide) is left to the stage that sees them.
"""

import re

from routing.config.checks import metrics
from routing.config.checks.metrics import measured, phrased
from routing.config.checks.names import named
from routing.data.sources import SOURCES, MixtureSource
from routing.ensemble.policies import POLICIES
from routing.ensemble.routers import ROUTERS as TRAINING_FREE
from routing.ensemble.routers import ConditionalPriorOptions, ExactOptions, NearestCentroidOptions
from routing.flow.samplers import SAMPLERS
from routing.metrics import feature_space_names
from routing.stages.classifier import CLASSIFIERS, TrainedClassifier
from routing.stages.experts import EXPERTS, Exact, Transformer
from routing.stages.router import LEARNED, Learned
from routing.statistics.intervals import seed_blocks
from routing.workflow import choices

__all__ = ["PARTS", "ROUTERS", "check", "measured", "num_experts", "phrased"]

ROUTERS = TRAINING_FREE | LEARNED
RESERVED = ("data", "heldout")  # the names of the real images among the arms
PARTS = {  # of an arm, and where they are named
    "partition": "partitions",
    "router": "routers",
    "policy": "policies",
    "sampler": "samplers",
    "guidance": "guidances",
}
BACKBONE = ("patch_size", "width", "depth", "num_heads", "condition")  # of a learned router


def check(spec: dict) -> None:
    """Raise ValueError (one line, key first) if the config `spec` cannot run."""
    _data(spec)
    _spaces(spec)
    _partitions(spec)
    _routers(spec)
    _arms(spec)
    _conditions(spec)
    _noise(spec)
    metrics.check(spec)
    _counts(spec)
    _worlds(spec)
    metrics.check_figures(spec)


def num_experts(partitions: dict[str, dict]) -> dict[str, int]:
    """K by partition; a random partition has that of the one it is like."""
    methods = {name: partition["method"] for name, partition in partitions.items()}
    return {n: methods[m.get("like", n)]["num_clusters"] for n, m in methods.items()}


def _data(spec: dict) -> None:
    """Encoded images want a rule, and latents an autoencoder."""
    source, image = spec["data"]["source"]["name"], spec["data"]["image"]
    kind = choices.with_plugins("sources", SOURCES)[source]
    is_encoded = hasattr(kind, "items")  # else ready
    if is_encoded and image is None:
        raise ValueError(
            f"data.image: wanted a rule for the encoded images of source {source!r}, got none; "
            f"give it a size"
        )
    if not is_encoded and image is not None:
        raise ValueError(
            f"data.image: source {source!r} is stored as it is, got a rule for encoded images; "
            f"take it out"
        )
    if spec["autoencoder"] and kind is MixtureSource:
        raise ValueError(
            f"autoencoder: wants images, got points (data.source {source!r}); leave it out"
        )
    for name, encoder in spec["encoders"].items():
        if encoder.get("reads") == "latents" and spec["autoencoder"] is None:
            raise ValueError(
                f"encoders.{name}.reads: wanted 'images', since there are no latents without a "
                f"autoencoder, got 'latents'; give the config an autoencoder"
            )


def _spaces(spec: dict) -> None:
    """No space but the published one wears its name, nor a name that begins with it."""
    for group in ("encoders", "classifiers"):
        for name, choice in spec[group].items():
            feature_space_names.check_name(f"{group}.{name}", name, choice)
            if re.search(r"_\d+k?$", name) and name not in feature_space_names.WEIGHTS:
                raise ValueError(
                    f"{group}.{name}: wanted a name that does not end in a number, which in names "
                    f"of metrics is that of the samples, got {name!r}; rename it"
                )


def _partitions(spec: dict) -> None:
    partitions = spec["partitions"]
    for name, partition in partitions.items():
        named(f"partitions.{name}.encoder", partition["encoder"], spec["encoders"])
        like = partition["method"].get("like")
        if like is None:
            continue
        where = f"partitions.{name}.method.like"
        named(where, like, partitions)
        if "like" in partitions[like]["method"]:
            raise ValueError(
                f"{where}: wanted a partition with clusters of its own, got {like!r}, which is "
                f"like another; name that one"
            )


def _routers(spec: dict) -> None:
    """A chain of routers that start from one another ends at one that starts from nothing."""
    for name in spec["routers"]:
        chain = [name]
        while start := spec["routers"][chain[-1]].get("start"):
            where = f"routers.{chain[-1]}.start"
            named(where, start, spec["routers"])
            if "start" not in spec["routers"][start]:
                kind = spec["routers"][start]["name"]
                raise ValueError(
                    f"{where}: wanted a router that is trained, got {start!r} ({kind}); name a "
                    f"learned one"
                )
            if start in chain:
                raise ValueError(
                    f"{where}: wanted a router that does not start from this one, got {start!r}; "
                    f"break the circle"
                )
            chain.append(start)
        if len(chain) > 1:
            _alike(f"routers.{name}.start", spec["routers"][name], spec["routers"], chain[1])


def _alike(where: str, router: dict, routers: dict[str, dict], start: str) -> None:
    for key in BACKBONE:
        if router[key] != routers[start][key]:
            raise ValueError(
                f"{where}: wanted a router with the same {key} ({router[key]!r}), got {start!r} "
                f"with {routers[start][key]!r}; make them equal"
            )


def _arms(spec: dict) -> None:
    for name, arm in spec["arms"].items():
        if name in RESERVED:
            raise ValueError(f"arms.{name}: this name stands for real images; rename the arm")
        for part, table in PARTS.items():
            if arm[part] is not None:
                named(f"arms.{name}.{part}", arm[part], spec[table])


def _conditions(spec: dict) -> None:
    """Only experts that are told a condition can be asked for it, and routers with them."""
    routers = choices.with_plugins("routers", ROUTERS)
    is_exact = choices.with_plugins("experts", EXPERTS)[spec["experts"]["name"]] is Exact
    for name, arm in spec["arms"].items():
        of, where = arm["partition"], f"arms.{name}"
        condition = spec["partitions"][of]["condition"]
        guidance = spec["guidances"].get(arm["guidance"], {"name": "none"})["name"]
        if condition == "none" and guidance != "none":
            raise ValueError(
                f"{where}.guidance: {arm['guidance']!r} ({guidance}) wants experts that are told "
                f"a condition, partition {of!r} has 'none'; give it condition 'label' or 'text'"
            )
        if is_exact and condition == "text":
            raise ValueError(
                f"partitions.{of}.condition: wanted 'none' or 'label', which experts 'exact' can "
                f"be told, got 'text'; change one of them"
            )
        router = spec["routers"][arm["router"]]
        told = router.get("condition", "none")
        if told not in ("none", condition):
            raise ValueError(
                f"{where}.router: {arm['router']!r} is told the {told}, the experts of partition "
                f"{of!r} are told {condition!r}; make them equal"
            )
        if routers[router["name"]] is ConditionalPriorOptions and condition != "label":
            raise ValueError(
                f"{where}.router: {arm['router']!r} (conditional_prior) wants a partition with "
                f"condition 'label', got {condition!r}; take another router"
            )
        encoder = spec["encoders"][spec["partitions"][of]["encoder"]]
        is_latent = encoder.get("reads") == "latents"
        if (
            routers[router["name"]] is NearestCentroidOptions
            and spec["autoencoder"]
            and not is_latent
        ):
            raise ValueError(
                f"{where}.router: {arm['router']!r} (nearest_centroid) looks at latents, the "
                f"centroids of partition {of!r} are of images; take an encoder that reads latents"
            )
        if routers[router["name"]].counts_labels and condition == "text" and guidance != "none":
            raise ValueError(
                f"{where}.router: {arm['router']!r} ({router['name']}) starts from p(k | label), "
                f"the samples are asked for a text; take another router or guidance 'none'"
            )


def _noise(spec: dict) -> None:
    """Some routers read the noise of a stochastic sampler, some the path of an ODE."""
    routers = choices.with_plugins("routers", ROUTERS)
    samplers = choices.with_plugins("samplers", SAMPLERS)
    for name, arm in spec["arms"].items():
        kind = spec["routers"][arm["router"]]["name"]
        is_stochastic = samplers[spec["samplers"][arm["sampler"]]["name"]].is_stochastic
        if routers[kind].wants_noise and not is_stochastic:
            raise ValueError(
                f"arms.{name}.router: {arm['router']!r} ({kind}) wants a stochastic sampler "
                f"('ancestral'), got {arm['sampler']!r}; change one of them"
            )


def _counts(spec: dict) -> None:
    samples = spec["samples"]
    if samples["num_samples"] % samples["shard_size"]:
        raise ValueError(
            f"samples.shard_size: wanted a divisor of {samples['num_samples']} (num_samples), "
            f"got {samples['shard_size']}; change one of them"
        )
    try:
        seed_blocks(samples["num_samples"], spec["metrics"]["num_blocks"])
    except ValueError as error:
        raise ValueError(f"metrics.{error}") from None
    probe = spec["probe"]
    if probe["num_states"] % probe["shard_size"]:
        raise ValueError(
            f"probe.shard_size: wanted a divisor of {probe['num_states']} (num_states), got "
            f"{probe['shard_size']}; change one of them"
        )
    if not probe["fit_fraction"] + probe["calibration_fraction"] < 1:
        raise ValueError(
            f"probe.calibration_fraction: wanted fit + calibrate < 1, so that some images are "
            f"left for "
            f"reports, got {probe['fit']} + {probe['calibrate']}; lower one"
        )
    nums = num_experts(spec["partitions"])
    experts = choices.build(choices.with_plugins("experts", EXPERTS), spec["experts"], "experts")
    for name, arm in spec["arms"].items():
        num, where = nums[arm["partition"]], f"policies.{arm['policy']}"
        options = spec["policies"][arm["policy"]]
        policy = choices.build(choices.with_plugins("policies", POLICIES), options, where)
        if policy.least_experts > num:
            raise ValueError(
                f"arms.{name}.policy: {arm['policy']!r} wants at least {policy.least_experts} "
                f"experts, partition {arm['partition']!r} has {num}; let it want fewer or take "
                f"another partition"
            )
        if isinstance(experts, Transformer):
            try:
                experts.batch_size(num)
            except ValueError as error:
                raise ValueError(f"experts.{error}") from None


def _worlds(spec: dict) -> None:
    """Networks want images, closed forms a mixture."""
    source, experts = spec["data"]["source"]["name"], spec["experts"]["name"]
    is_mixture = choices.with_plugins("sources", SOURCES)[source] is MixtureSource
    is_exact = choices.with_plugins("experts", EXPERTS)[experts] is Exact
    images = f"wants images, got points (data.source {source!r})"
    if is_exact and not is_mixture:
        raise ValueError(
            f"experts: {experts!r} wants data.source 'mixture', got {source!r}, which has no "
            f"closed form; take 'transformer'"
        )
    if is_mixture and choices.with_plugins("experts", EXPERTS)[experts] is Transformer:
        raise ValueError(f"experts: {experts!r} {images}; take 'exact'")
    routers = choices.with_plugins("routers", ROUTERS)
    for name, arm in spec["arms"].items():
        kind = spec["routers"][arm["router"]]["name"]
        where = f"arms.{name}.router: {arm['router']!r} ({kind})"
        if is_mixture and routers[kind] is Learned:
            raise ValueError(f"{where} {images}; take a router that is not trained")
        if not is_exact and routers[kind] is ExactOptions:
            raise ValueError(
                f"{where} wants experts 'exact', got {experts!r}; take another router"
            )
    space = spec["metrics"]["feature_space"]
    kind = spec["classifiers"].get(space, {}).get("name")
    table = choices.with_plugins("classifiers", CLASSIFIERS)
    if is_mixture and kind and table[kind] is TrainedClassifier:
        raise ValueError(f"metrics.feature_space: {space!r} ({kind}) {images}; name an encoder")
