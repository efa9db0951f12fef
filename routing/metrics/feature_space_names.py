"""Feature spaces by the names of the field, and what a file of features is.

    space                   encoder                             whose published features it has
    inception               inception                           FID, KID and IS (torch-fidelity)
    dinov2_vit{s,b,l,g}14   dinov2, bicubic_antialias to 224    FD-DINOv2 (EDM2; by dgm-eval: _pil)
    clip_vitb32 ...         clip of OpenAI, bicubic_pil         CLIP score, CMMD (vitl14_336)

They are whole (no `dim`), of no set length (`normalise: none`), in float32, with the weights of
the manifest. An encoder with one of these networks and other options is called after its space
with a word more (dinov2_vitl14_l2), and nothing else may begin with these words: no proxy wears a
famous name. A metric is called after its space, so the same holds of metrics; LPIPS, which has no
space, is called after its network (`lpips_net`).

To add a space, give `_network` its name and WEIGHTS its id in the manifest.
"""

import hashlib
import json
import re
from typing import Any

from routing.pretrained import manifest

WORDS = ("inception", "dinov2", "clip")  # no name begins with one of these but by right
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
PUBLISHED = {  # what options are in a published space, and the word for what differs
    "normalise": ("none", "{}"),
    "dim": (None, "pca{}"),
    "image_size": (224, "{}px"),
    "resize": ("bicubic_antialias", "{}"),
    "precision": ("float32", "{}"),
}
OWN = {"clip": {"resize": ("bicubic_pil", "{}")}}  # where those of an encoder are others
PLAIN = {  # what metrics are called where they have no famous name
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
FACTS = {  # of a space's note, and how a reader knows them
    "weights": "weights",
    "resize": "resize rule",
    "precision": "precision",
    "image": "image shape",
    "maker": "classifier",
}


def label(encoder: dict[str, Any]) -> str | None:
    """The field's name of a resolved `encoder`; None if it has none, or its options differ."""
    network = _network(encoder)
    return network if network in WEIGHTS and not _departures(encoder, network) else None


def check_name(where: str, key: str, choice: dict[str, Any]) -> None:
    """Raise ValueError (one line) if `key` is a famous name that the resolved `choice` is not."""
    word = next((word for word in WORDS if key.startswith(word)), None)
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
        mend = ""
        if key == network and key in WEIGHTS:
            mend = f", or for the published space set {', '.join(_mended(choice, network))}"
        raise ValueError(
            f"{where}: wanted the name of {network} with {kind}, got {key!r}; call it "
            f"{right}{mend}"
        )


def metric_name(
    kind: str, space: str, num_samples: int | None, departures: tuple[str, ...] = ()
) -> str:
    """What a metric of this `kind` is called in `space`, with the number of samples if it counts.

    Frechet distances are `fid_inception` there alone, `fd_<space>` elsewhere, and so on. The
    `departures` are words for options that are not the published ones (`recall_digits_k10`).
    """
    borrowed = {
        ("frechet", "inception"): "fid_inception",
        ("frechet_infinity", "inception"): "fid_infinity_inception",
        ("kernel", "inception"): "kid_inception",
        ("inception_score", "inception"): "is_inception",
        ("cmmd", "clip_vitl14_336"): "cmmd_clip_vitl14_336",
        ("cmmd_unbiased", "clip_vitl14_336"): "cmmd_unbiased_clip_vitl14_336",
    }
    plain = PLAIN.get(kind, kind)
    bare = space.removeprefix("clip_") if kind.startswith("clip_score") else space
    name = "_".join([borrowed.get((kind, space), f"{plain}_{bare}"), *departures])
    if num_samples is None:
        return name
    whole, rest = divmod(num_samples, 1000)
    return f"{name}_{num_samples if rest else f'{whole}k'}"


def lpips_net(options: dict[str, Any]) -> str:
    """What the network of LPIPS is called in names: `alex`, and `alex_other` with other weights.

    `options` are net, weights and sha256. A file is the published one if its sha256 is given, and
    is then checked where it is read.
    """
    net = options["net"]
    return net if _is_file_of(LPIPS[net], options) else f"{net}_other"


def note(name: str | None, maker: dict[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """What features are: of the space `name`, made by the artifact with the notes `maker`.

    `shape` is that of one of the images (or points) that the maker saw. The digest `maker` is of
    the fitted arrays and of all options that have no place of their own in the note, but not of
    where a file lies.
    """
    made = maker.get("encoder") or {"kind": "classifier", "model": maker["model"]}
    own = ("sha256", "resize", "precision", "flop_per_image")
    told = {key: value for key, value in made.items() if key not in own}
    if backbone := told.get("backbone"):
        elsewhere = (*own, "weights")
        told["backbone"] = {k: v for k, v in backbone.items() if k not in elsewhere}
    text = json.dumps([maker["content"], told], sort_keys=True)
    return {
        "name": name,
        "maker": hashlib.sha256(text.encode()).hexdigest(),
        "weights": made.get("sha256"),
        "resize": made.get("resize"),
        "precision": made.get("precision", "float32"),
        "image": list(shape),
    }


def refuse_mismatch(reference: dict[str, Any], samples: dict[str, Any], path: object) -> None:
    """Raise ValueError (one line) if features of `path` are of another space than the reference.

    Both are notes of spaces; their names may differ, nothing else.
    """
    differ = [fact for fact in FACTS if reference[fact] != samples[fact]]
    if differ:
        said = [f"{FACTS[f]} {_short(reference[f])}, got {_short(samples[f])}" for f in differ]
        raise ValueError(
            f"{path}: these features cannot be compared with the reference's: wanted "
            f"{'; '.join(said)}; embed both by the same encoder, on the same kind of device"
        )


def _network(encoder: dict[str, Any]) -> str | None:
    """The space of the network with this architecture, whatever its weights."""
    if encoder["name"] == "inception":
        return "inception"
    if encoder["name"] == "dinov2":
        return f"dinov2_vit{encoder['size'][0]}14"
    if encoder["name"] == "clip":  # ViT-L-14-336-quickgelu
        plain = [re.sub(r"[^a-z0-9]", "", word) for word in encoder["model"].lower().split("-")]
        return "_".join(["clip", "".join(plain[:3]), *(w for w in plain[3:] if w != "quickgelu")])
    return None


def _departures(encoder: dict[str, Any], network: str) -> list[str]:
    """Words for what in the options differs from the published space, in this order."""
    found = [] if _is_published(encoder, network) else ["other"]
    for option, (published, word) in _published(encoder).items():
        value = encoder.get(option, published)
        if value != published:
            found.append(word.format(SHORT.get(value, value)))
    return found


def _published(encoder: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Published options of this kind of encoder, and the words for what differs."""
    return PUBLISHED | OWN.get(encoder["name"], {})


def _mended(encoder: dict[str, Any], network: str) -> list[str]:
    """The options in which `encoder` is not the published space, each as it is there."""
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
    """Whether the weights are those of the manifest, by id or by sha256."""
    if network not in WEIGHTS:
        return False
    if encoder["name"] == "clip" and not encoder["model"].endswith("-quickgelu"):
        return False  # OpenAI's weights with another activation
    return _is_file_of(WEIGHTS[network], encoder)


def _is_file_of(name: str, options: dict[str, Any]) -> bool:
    """Whether `weights` is the id `name` of the manifest or a file that must be the same."""
    sha256 = manifest.entry(name).files[0].sha256
    if options["weights"] in (None, name):
        return options["sha256"] in (None, sha256)
    return options["sha256"] == sha256


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)
