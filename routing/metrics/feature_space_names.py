"""Published names of feature spaces, names of metrics, and the metadata of feature files.

    feature space           encoder                             published metrics that use it
    inception               inception                           FID, KID and IS (torch-fidelity)
    dinov2_vit{s,b,l,g}14   dinov2, bicubic_antialias to 224    FD-DINOv2 (EDM2; by dgm-eval: _pil)
    clip_vitb32 ...         clip of OpenAI, bicubic_pil         CLIP score, CMMD (vitl14_336)

These spaces are whole (no `dim`), not normalised (`normalise: none`), in float32, with the weights
of the manifest. An encoder with one of these networks and other options must have the name of the
space followed by another word (`dinov2_vitl14_l2`), and no other encoder may have a name that
begins so: a number that is not the published one must not have the published name. A metric's
name contains its feature space, so the same holds for metrics. LPIPS has no feature space; its
name contains its network (`lpips_net`).

To add a feature space, add its name to `_network` and its manifest id to WEIGHTS.
"""

import hashlib
import json
import re
from typing import Any

from routing.pretrained import manifest

RESERVED_PREFIXES = ("inception", "dinov2", "clip")
WEIGHTS = {
    "inception": "inception-v3",
    "dinov2_vits14": "dinov2-small",
    "dinov2_vitb14": "dinov2-base",
    "dinov2_vitl14": "dinov2-large",
    "dinov2_vitg14": "dinov2-giant",
    "clip_vitb32": "clip-vit-b-32",
    "clip_vitl14": "clip-vit-l-14",
    "clip_vitl14_336": "clip-vit-l-14-336",
}
LPIPS = {"alex": "lpips-alex", "vgg": "lpips-vgg16"}
PUBLISHED = {  # options of a published space, and the word of a name for another value
    "normalise": ("none", "{}"),
    "dim": (None, "pca{}"),
    "image_size": (224, "{}px"),
    "resize": ("bicubic_antialias", "{}"),
    "precision": ("float32", "{}"),
}
PUBLISHED_BY_ENCODER = {"clip": {"resize": ("bicubic_pil", "{}")}}  # where they differ
GENERIC = {  # names of metrics in other feature spaces than the published ones
    "frechet": "fd",
    "frechet_infinity": "fd_infinity",
    "kernel": "kd",
    "cmmd": "mmd",
    "cmmd_unbiased": "mmd_unbiased",
}
SHORT = {
    "bicubic_pil": "pil",
    "bicubic_antialias": "antialias",
    "tf1_bilinear": "tf1",
    "bfloat16": "bf16",
}
FACTS = {  # keys of the metadata of features, and their names in errors
    "weights": "weights",
    "resize": "resize rule",
    "precision": "precision",
    "image": "image shape",
    "extractor": "feature extractor",
}


def published_name(encoder: dict[str, Any]) -> str | None:
    """Return the published name of a resolved `encoder`; None if its options are others."""
    network = _network(encoder)
    return network if network in WEIGHTS and not _departures(encoder, network) else None


def check_name(where: str, key: str, choice: dict[str, Any]) -> None:
    """Raise ValueError if the name `key` claims a published space that `choice` is not.

    `choice` is a resolved encoder or classifier of the config, `where` its place there.
    """
    word = next((word for word in RESERVED_PREFIXES if key.startswith(word)), None)
    if word is None:
        return
    if choice["name"] != word:
        raise ValueError(
            f"{where}: names that begin with {word!r} are of encoders {word!r}, got "
            f"{choice['name']!r}; give it another name"
        )
    network = _network(choice)
    claimed = [name for name in WEIGHTS | {network: ""} if f"{key}_".startswith(f"{name}_")]
    departures = _departures(choice, network)
    if max(claimed, key=len, default=None) != network or (key == network) != (not departures):
        kind = "other options" if departures else "the published options"
        right = "_".join([network, *departures])
        fix = ""
        if key == network and key in WEIGHTS:
            changes = ", ".join(_changes_to_published(choice, network))
            fix = f", or for the published space set {changes}"
        raise ValueError(
            f"{where}: wanted the name of {network} with {kind}, got {key!r}; call it {right}{fix}"
        )


def metric_name(
    kind: str, space: str, num_samples: int | None, suffixes: tuple[str, ...] = ()
) -> str:
    """Return the name of a metric of this `kind` in `space`.

    A Frechet distance is `fid_inception` in that feature space only, `fd_<space>` in others, and
    so on. `suffixes` are words for options with other values than the published ones
    (`recall_digits_k10`). `num_samples` ends the name unless it is None.
    """
    published = {
        ("frechet", "inception"): "fid_inception",
        ("frechet_infinity", "inception"): "fid_infinity_inception",
        ("kernel", "inception"): "kid_inception",
        ("inception_score", "inception"): "is_inception",
        ("cmmd", "clip_vitl14_336"): "cmmd_clip_vitl14_336",
        ("cmmd_unbiased", "clip_vitl14_336"): "cmmd_unbiased_clip_vitl14_336",
    }
    generic = GENERIC.get(kind, kind)
    bare = space.removeprefix("clip_") if kind.startswith("clip_score") else space
    name = "_".join([published.get((kind, space), f"{generic}_{bare}"), *suffixes])
    if num_samples is None:
        return name
    thousands, rest = divmod(num_samples, 1000)
    return f"{name}_{num_samples if rest else f'{thousands}k'}"


def lpips_net(options: dict[str, Any]) -> str:
    """Return the LPIPS network as metric names have it: `alex`, or `alex_other` for other weights.

    `options` are net, weights and sha256. A file counts as the published weights if their sha256
    is given; the file is checked against it when it is read.
    """
    net = options["net"]
    return net if _is_manifest_file(LPIPS[net], options) else f"{net}_other"


def feature_metadata(
    name: str | None, extractor: dict[str, Any], shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return the metadata of features: which space they are in, and how they were computed.

    `extractor` is the metadata of the artifact (a fitted encoder or a trained classifier) that
    computed the features of the space `name`, `shape` the shape of one of its input images. The
    digest `extractor` covers the fitted arrays and all options that have no key of their own, but
    not the path of a file.
    """
    options = extractor.get("encoder") or {"kind": "classifier", "model": extractor["model"]}
    own_keys = ("sha256", "resize", "precision", "flop_per_image")
    hashed = {key: value for key, value in options.items() if key not in own_keys}
    if backbone := hashed.get("backbone"):
        dropped = (*own_keys, "weights")
        hashed["backbone"] = {k: v for k, v in backbone.items() if k not in dropped}
    text = json.dumps([extractor["content"], hashed], sort_keys=True)
    return {
        "name": name,
        "extractor": hashlib.sha256(text.encode()).hexdigest(),
        "weights": options.get("sha256"),
        "resize": options.get("resize"),
        "precision": options.get("precision", "float32"),
        "image": list(shape),
    }


def check_same_space(reference: dict[str, Any], samples: dict[str, Any], path: object) -> None:
    """Raise ValueError if the features of `path` are in another space than the reference.

    Both are feature metadata, which must be equal except for `name`.
    """
    differ = [fact for fact in FACTS if reference[fact] != samples[fact]]
    if differ:
        facts = [f"{FACTS[f]} {_short(reference[f])}, got {_short(samples[f])}" for f in differ]
        raise ValueError(
            f"{path}: these features cannot be compared with the reference's: wanted "
            f"{'; '.join(facts)}; embed both by the same encoder, on the same kind of device"
        )


def _network(encoder: dict[str, Any]) -> str | None:
    """Return the published space of the network's architecture, whatever its weights."""
    if encoder["name"] == "inception":
        return "inception"
    if encoder["name"] == "dinov2":
        return f"dinov2_vit{encoder['size'][0]}14"
    if encoder["name"] == "clip":  # ViT-L-14-336-quickgelu
        parts = [re.sub(r"[^a-z0-9]", "", word) for word in encoder["model"].lower().split("-")]
        return "_".join(["clip", "".join(parts[:3]), *(w for w in parts[3:] if w != "quickgelu")])
    return None


def _departures(encoder: dict[str, Any], network: str) -> list[str]:
    """Return a word for each option that differs from the published space, in this order."""
    found = [] if _is_published(encoder, network) else ["other"]
    for option, (published, word) in _published(encoder).items():
        value = encoder.get(option, published)
        if value != published:
            found.append(word.format(SHORT.get(value, value)))
    return found


def _published(encoder: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return the published options of this kind of encoder, and the words for other values."""
    return PUBLISHED | PUBLISHED_BY_ENCODER.get(encoder["name"], {})


def _changes_to_published(encoder: dict[str, Any], network: str) -> list[str]:
    """Return the options in which `encoder` differs, as `key: published (not current)`."""
    wanted = {option: published for option, (published, _) in _published(encoder).items()}
    if not _is_published(encoder, network):
        model = encoder.get("model", "")
        if model and not model.endswith("-quickgelu"):
            wanted["model"] = f"{model}-quickgelu"
        if encoder["weights"] not in (None, WEIGHTS[network]):
            wanted["weights"] = WEIGHTS[network]
        wanted["sha256"] = None
    found = {option: encoder.get(option, value) for option, value in wanted.items()}
    differ = [option for option in wanted if found[option] != wanted[option]]
    return [f"{o}: {_yaml(wanted[o])} (not {_yaml(_short(found[o]))})" for o in differ]


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value)


def _is_published(encoder: dict[str, Any], network: str) -> bool:
    """Return whether the weights are those of the manifest, by id or by sha256."""
    if network not in WEIGHTS:
        return False
    if encoder["name"] == "clip" and not encoder["model"].endswith("-quickgelu"):
        return False  # OpenAI's weights with another activation
    return _is_manifest_file(WEIGHTS[network], encoder)


def _is_manifest_file(name: str, options: dict[str, Any]) -> bool:
    """Return whether `weights` is the manifest id `name`, or a file with the same sha256."""
    sha256 = manifest.entry(name).files[0].sha256
    if options["weights"] in (None, name):
        return options["sha256"] in (None, sha256)
    return options["sha256"] == sha256


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
