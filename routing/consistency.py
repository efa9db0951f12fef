"""What no single key of a config can show: references, counts and combinations.

`check` takes a config whose keys are all in order (names known, types right, defaults written
out) and raises ValueError on the first thing that could not run: one line, key first, with what
was wanted, what was got and the remedy. Nothing is read: what only the data can tell (an empty
cluster, an image that patches do not divide) is left to the stage that sees them.
"""

from routing import choices, spaces
from routing.backbones.perceptual import NETS
from routing.experts import EXPERTS, Exact, Transformer
from routing.extractor import EXTRACTORS, TrainedClassifier
from routing.guidance import GUIDANCE
from routing.intervals import seed_blocks
from routing.measures import METRICS
from routing.measures.classes import Agreement, ClassShares, InceptionScore
from routing.measures.pairs import LPIPS
from routing.measures.texts import CLIPScore
from routing.policies import POLICIES
from routing.router import LEARNED, Learned
from routing.routers import ROUTERS as TRAINING_FREE
from routing.routers import ConditionalPriorOptions, ExactOptions, NearestCentroidOptions
from routing.samplers import SAMPLERS
from routing.sources import SOURCES, Digits, MixtureSource

ROUTERS = TRAINING_FREE | LEARNED
RESERVED = ("data", "heldout")  # the names of the real images among the arms
PARTS = {  # of an arm, and where they are named
    "partition": "partitions",
    "router": "routers",
    "policy": "policies",
    "sampler": "samplers",
    "guidance": "guidances",
}
DIGITS_SIDE = 8  # pixels; other sources have the side of data.image
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
    _metrics(spec)
    _counts(spec)
    _worlds(spec)


def num_experts(partitions: dict[str, dict]) -> dict[str, int]:
    """K by partition; a random partition has that of the one it is like."""
    methods = {name: partition["method"] for name, partition in partitions.items()}
    return {n: methods[m.get("like", n)]["num_clusters"] for n, m in methods.items()}


def _data(spec: dict) -> None:
    """Encoded images want a rule, and latents an autoencoder."""
    source, image = spec["data"]["source"]["name"], spec["data"]["image"]
    kind = choices.rows("sources", SOURCES)[source]
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
    if spec["codec"] and kind is MixtureSource:
        raise ValueError(f"codec: wants images, got points (data.source {source!r}); leave it out")
    for name, encoder in spec["encoders"].items():
        if encoder.get("reads") == "latents" and spec["codec"] is None:
            raise ValueError(
                f"encoders.{name}.reads: wanted 'images', since there are no latents without a "
                f"codec, got 'latents'; give the config a codec"
            )


def _spaces(spec: dict) -> None:
    """No space but the published one wears its name, nor a name that begins with it."""
    for group in ("encoders", "extractors"):
        for name, choice in spec[group].items():
            spaces.check_name(f"{group}.{name}", name, choice)


def _partitions(spec: dict) -> None:
    partitions = spec["partitions"]
    for name, partition in partitions.items():
        _named(f"partitions.{name}.encoder", partition["encoder"], spec["encoders"])
        like = partition["method"].get("like")
        if like is None:
            continue
        where = f"partitions.{name}.method.like"
        _named(where, like, partitions)
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
            _named(where, start, spec["routers"])
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
                _named(f"arms.{name}.{part}", arm[part], spec[table])


def _conditions(spec: dict) -> None:
    """Only experts that are told a condition can be asked for it, and routers with them."""
    routers = choices.rows("routers", ROUTERS)
    is_exact = choices.rows("experts", EXPERTS)[spec["experts"]["name"]] is Exact
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
        if routers[router["name"]] is NearestCentroidOptions and spec["codec"] and not is_latent:
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
    routers = choices.rows("routers", ROUTERS)
    samplers = choices.rows("samplers", SAMPLERS)
    for name, arm in spec["arms"].items():
        kind = spec["routers"][arm["router"]]["name"]
        is_stochastic = samplers[spec["samplers"][arm["sampler"]]["name"]].is_stochastic
        if routers[kind].wants_noise and not is_stochastic:
            raise ValueError(
                f"arms.{name}.router: {arm['router']!r} ({kind}) wants a stochastic sampler "
                f"('ancestral'), got {arm['sampler']!r}; change one of them"
            )


def _metrics(spec: dict) -> None:
    metrics = spec["metrics"]
    if shared := sorted(spec["extractors"].keys() & spec["encoders"].keys()):
        raise ValueError(f"extractors.{shared[0]}: an encoder has this name too; rename one")
    spaces = [*spec["extractors"], *spec["encoders"]]
    _named("metrics.extractor", metrics["extractor"], spaces)
    _named("metrics.reference_arm", metrics["reference_arm"], spec["arms"])
    _named("metrics.shares_partition", metrics["shares_partition"], spec["partitions"])
    seen = []
    for i, metric in enumerate(metrics["list"]):
        where = f"metrics.list.{i}"
        key = (
            metric["name"],
            metric.get("space") or metrics["extractor"],
            metric.get("num_samples"),
        )
        if key in seen:
            raise ValueError(
                f"{where}: {key[0]!r} is in the list twice and both would write the same rows; "
                f"take one out"
            )
        seen.append(key)
        if metric.get("space") is not None:
            _named(f"{where}.space", metric["space"], spaces)
        _metric(where, metric, key[1], spec)


def _metric(where: str, metric: dict, space: str, spec: dict) -> None:
    """What one metric wants of its space, of the arms and of the number of samples."""
    name, kind = metric["name"], choices.rows("metrics", METRICS)[metric["name"]]
    encoder = spec["encoders"].get(space, {}).get("name")
    if kind in (ClassShares, Agreement) and encoder:
        raise ValueError(
            f"{where}: {name!r} wants an extractor that tells classes, got the encoder {space!r} "
            f"(space or metrics.extractor); name one of extractors or take {name!r} out"
        )
    if kind is InceptionScore and encoder != "inception":
        raise ValueError(
            f"{where}: {name!r} wants a space of the encoder 'inception', got {space!r}; give it "
            f"one by `space` or take {name!r} out"
        )
    if kind is CLIPScore and encoder != "clip":
        raise ValueError(
            f"{where}: {name!r} wants a space of an encoder 'clip', got {space!r}; give it one by "
            f"`space` or take {name!r} out"
        )
    if kind is CLIPScore and spec["encoders"][space]["dim"] is not None:
        raise ValueError(
            f"{where}: {name!r} wants whole features, got encoders.{space}.dim = "
            f"{spec['encoders'][space]['dim']}; name another encoder"
        )
    if kind is LPIPS:
        _lpips(where, spec)
    num, drawn = metric.get("num_samples"), spec["samples"]["num_samples"]
    if num is None:
        return
    if num > drawn:
        raise ValueError(
            f"{where}.num_samples: wanted at most {drawn} (samples.num_samples), got {num}; draw "
            f"more, or take the number and with it the promise out of the name"
        )
    try:
        seed_blocks(num, spec["metrics"]["num_blocks"])
    except ValueError as error:
        raise ValueError(f"{where}: metrics.{error}") from None


def _lpips(where: str, spec: dict) -> None:
    """The network takes images of some least side; pairs within what was asked want a question."""
    lpips, source = spec["metrics"]["lpips"], spec["data"]["source"]["name"]
    if lpips is None:
        raise ValueError(f"metrics.lpips: 'lpips' ({where}) wants its network; add {{net: alex}}")
    kind, image = choices.rows("sources", SOURCES)[source], spec["data"]["image"]
    if kind is MixtureSource:
        raise ValueError(
            f"{where}: 'lpips' wants images, got points (data.source {source!r}); take it out"
        )
    side = image["size"] if image else DIGITS_SIDE if kind is Digits else None
    if side is not None and side < NETS[lpips["net"]].least:
        able = [f"{name!r} ({net.least})" for name, net in NETS.items() if net.least <= side]
        remedy = f"take net {' or '.join(able)}" if able else "take 'lpips' out of metrics.list"
        raise ValueError(
            f"metrics.lpips.net: {lpips['net']!r} wants images of {NETS[lpips['net']].least} "
            f"pixels a side or more, got {side} of data; {remedy}"
        )
    if lpips["within"] == "all":
        return
    table = choices.rows("guidances", GUIDANCE)
    for name, arm in spec["arms"].items():
        guidance = spec["guidances"].get(arm["guidance"], {"name": "none"})["name"]
        if not table[guidance].is_conditional:
            raise ValueError(
                f"metrics.lpips.within: {lpips['within']!r} wants arms that ask for a label or a "
                f"text, got arm {name!r} without guidance; take 'all', or give it one"
            )


def measured(spec: dict) -> list[str]:
    """The spaces that are measured in, the one of metrics.shares_partition first."""
    metrics = spec["metrics"]
    place = spec["partitions"][metrics["shares_partition"]]["encoder"]
    own = [
        metric["space"] or metrics["extractor"] for metric in metrics["list"] if "space" in metric
    ]
    return list(dict.fromkeys([place, *own]))


def phrased(spec: dict) -> list[str]:
    """The spaces in which captions are compared with samples."""
    metrics, table = spec["metrics"], choices.rows("metrics", METRICS)
    of = [m for m in metrics["list"] if table[m["name"]] is CLIPScore]
    return list(dict.fromkeys(m["space"] or metrics["extractor"] for m in of))


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
    if not probe["fit"] + probe["calibrate"] < 1:
        raise ValueError(
            f"probe.calibrate: wanted fit + calibrate < 1, so that some images are left for "
            f"reports, got {probe['fit']} + {probe['calibrate']}; lower one"
        )
    nums = num_experts(spec["partitions"])
    experts = choices.build(choices.rows("experts", EXPERTS), spec["experts"], "experts")
    for name, arm in spec["arms"].items():
        num, where = nums[arm["partition"]], f"policies.{arm['policy']}"
        options = spec["policies"][arm["policy"]]
        policy = choices.build(choices.rows("policies", POLICIES), options, where)
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
    is_mixture = choices.rows("sources", SOURCES)[source] is MixtureSource
    is_exact = choices.rows("experts", EXPERTS)[experts] is Exact
    images = f"wants images, got points (data.source {source!r})"
    if is_exact and not is_mixture:
        raise ValueError(
            f"experts: {experts!r} wants data.source 'mixture', got {source!r}, which has no "
            f"closed form; take 'transformer'"
        )
    if is_mixture and choices.rows("experts", EXPERTS)[experts] is Transformer:
        raise ValueError(f"experts: {experts!r} {images}; take 'exact'")
    routers = choices.rows("routers", ROUTERS)
    for name, arm in spec["arms"].items():
        kind = spec["routers"][arm["router"]]["name"]
        where = f"arms.{name}.router: {arm['router']!r} ({kind})"
        if is_mixture and routers[kind] is Learned:
            raise ValueError(f"{where} {images}; take a router that is not trained")
        if not is_exact and routers[kind] is ExactOptions:
            raise ValueError(
                f"{where} wants experts 'exact', got {experts!r}; take another router"
            )
    space = spec["metrics"]["extractor"]
    kind = spec["extractors"].get(space, {}).get("name")
    table = choices.rows("extractors", EXTRACTORS)
    if is_mixture and kind and table[kind] is TrainedClassifier:
        raise ValueError(f"metrics.extractor: {space!r} ({kind}) {images}; name an encoder")


def _named(where: str, name: str, valid: object) -> None:
    if name not in valid:
        raise ValueError(f"{where}: nothing is named {name!r}" + choices.nearest(name, [*valid]))
