"""What spaces are called: no proxy wears a famous name, and a metric is named after its space."""

import pytest
from stages import refused

from routing.figures.shared import metric_labels
from routing.loading.feature_encoders.registry import ENCODERS
from routing.metrics.feature_space_names import (
    WEIGHTS,
    check_name,
    check_same_space,
    feature_metadata,
    lpips_net,
    metric_name,
    published_name,
)
from routing.pretrained import manifest
from routing.pretrained.lpips_networks import NETS
from routing.workflow import choices


def resolved(name, **options):
    return choices.resolve(ENCODERS, {"name": name} | options, "encoders.x")


PLAIN = {"normalise": "none", "precision": "float32"}
LARGE, L14 = (manifest.entry(WEIGHTS[n]).files[0].sha256 for n in ("dinov2_vitl14", "clip_vitl14"))


def dinov2(**options):
    return resolved("dinov2", **{"size": "large"} | PLAIN | options)


def clip(model="ViT-L-14-quickgelu", **options):
    return resolved("clip", **{"model": model, "resize": "bicubic_pil"} | PLAIN | options)


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (resolved("inception"), "inception"),
        (resolved("dinov2", size="large", **PLAIN), "dinov2_vitl14"),
        (resolved("dinov2", size="small", **PLAIN), "dinov2_vits14"),
        (clip("ViT-B-32-quickgelu"), "clip_vitb32"),
        (clip("ViT-L-14-336-quickgelu"), "clip_vitl14_336"),
        (clip(resize="bicubic_antialias"), None),
        (resolved("dinov2", size="large"), None),  # of unit length
        (resolved("dinov2", size="large", dim=64, **PLAIN), None),
        (resolved("pca"), None),
        (dinov2(size="base"), "dinov2_vitb14"),
        (dinov2(size="giant"), "dinov2_vitg14"),
        (dinov2(precision="bfloat16"), None),
        (dinov2(resize="bicubic_pil"), None),
        (dinov2(image_size=98), None),
        (clip(), "clip_vitl14"),
        # A file is the published one by its sha256, wherever it lies.
        (dinov2(weights="mine.pth", sha256=LARGE), "dinov2_vitl14"),
        (dinov2(weights="mine.pth", sha256="0" * 64), None),
        (dinov2(weights="mine.pth"), None),
        (dinov2(sha256="0" * 64), None),
        (dinov2(sha256=LARGE), "dinov2_vitl14"),
        (clip(weights="mine.pt", sha256=L14), "clip_vitl14"),
        (clip("ViT-L-14", weights="mine.pt", sha256=L14), None),  # with another activation
        (clip("ViT-H-14", weights="mine.pt", sha256=L14), None),  # none that the field names
    ],
)
def test_the_fields_name_is_of_the_published_options_alone(choice, name):
    assert published_name(choice) == name
    if name:
        check_name("encoders.x", name, choice)


@pytest.mark.parametrize(
    ("key", "choice", "word"),
    [
        ("inception", resolved("pca"), "give it another name"),
        (
            "dinov2_vitl14",
            resolved("dinov2", size="large", dim=64, **PLAIN),
            "dinov2_vitl14_pca64",
        ),
        ("dinov2_vitl14", resolved("dinov2", size="small", **PLAIN), "call it dinov2_vits14"),
        ("dinov2_vits14_mine", resolved("dinov2", size="small", **PLAIN), "call it dinov2_vits14"),
        ("clip_vitl14", clip(resize="bicubic_antialias"), "call it clip_vitl14_antialias,"),
        ("clip_vitl14_pil", clip(), "the published options, got .*; call it clip_vitl14$"),
        ("clip_art", resolved("pca"), "give it another name"),
        ("inception", dinov2(), "of encoders 'inception', got 'dinov2'; give"),
        ("dinov2_vitl14_pil", dinov2(), "the published options, got .*; call it dinov2_vitl14$"),
        ("dinov2_vitl14", dinov2(resize="bicubic_pil"), "call it dinov2_vitl14_pil,"),
        ("dinov2_vitl14", dinov2(precision="bfloat16"), "call it dinov2_vitl14_bf16,"),
        ("dinov2_vitl14", dinov2(image_size=98), "call it dinov2_vitl14_98px,"),
        ("dinov2_vitl14", dinov2(normalise="l2"), "other options, .* dinov2_vitl14_l2,"),
        ("dinov2_vitl14", dinov2(weights="mine.pth"), "call it dinov2_vitl14_other,"),
        (
            "dinov2_vitl14",
            dinov2(weights="mine.pth", dim=8, normalise="l2"),
            "call it dinov2_vitl14_other_l2_pca8,",
        ),
        ("clip_vitl14", clip("ViT-L-14-336-quickgelu"), "call it clip_vitl14_336$"),
        ("clip_vitl14_336", clip(normalise="l2"), "call it clip_vitl14_l2$"),
        ("clip_vitl14x", clip(normalise="l2"), "call it clip_vitl14_l2$"),
        ("clip_vitl14", clip("ViT-L-14", weights="mine.pt", sha256=L14), "clip_vitl14_other,"),
        ("clip_vith14", clip("ViT-H-14", weights="mine.pt"), "call it clip_vith14_other$"),
    ],
)
def test_a_name_that_is_not_deserved_is_refused(key, choice, word):
    with refused(f"^encoders.x: .*{word}"):
        check_name("encoders.x", key, choice)


OTHER = "ab" * 32


@pytest.mark.parametrize(
    ("key", "choice", "options"),
    [
        (
            "dinov2_vitl14",
            resolved("dinov2", size="large"),
            "normalise: none (not l2), precision: float32 (not bfloat16)",
        ),
        ("dinov2_vitl14", dinov2(dim=64), "dim: null (not 64)"),
        ("dinov2_vitl14", dinov2(weights="mine.pth"), "weights: dinov2-large (not mine.pth)"),
        ("dinov2_vitl14", dinov2(sha256=OTHER), f"sha256: null (not {OTHER[:12]})"),
        (
            "clip_vitl14",
            clip(resize="bicubic_antialias"),
            "resize: bicubic_pil (not bicubic_antialias)",
        ),
        (
            "clip_vitl14",
            clip("ViT-L-14", weights="clip-vit-l-14"),
            "model: ViT-L-14-quickgelu (not ViT-L-14)",
        ),
    ],
)
def test_the_options_of_the_published_space_are_told_and_give_it(key, choice, options):
    with refused(f"; call it {key}_") as found:
        check_name("encoders.x", key, choice)
    told = str(found.value).partition(", or for the published space set ")[2]
    assert told == options
    for part in told.split(", "):
        option, value = part.partition(" (not")[0].split(": ")
        choice = choice | {option: None if value == "null" else value}
    check_name("encoders.x", key, choice)


@pytest.mark.parametrize(
    ("key", "choice"),
    [
        ("dinov2_vitl14_l2", dinov2(normalise="l2")),
        ("dinov2_vitl14_of_mine", dinov2(weights="mine.pth")),
        ("clip_vitl14_336_pca64", clip("ViT-L-14-336-quickgelu", dim=64)),
        ("mine", dinov2()),
        ("my_inception", resolved("pca")),
    ],
)
def test_a_word_more_is_enough_and_other_names_are_free(key, choice):
    check_name("encoders.x", key, choice)


@pytest.mark.parametrize(
    ("kind", "feature_space", "num", "name"),
    [
        ("frechet", "inception", 50_000, "fid_inception_50k"),
        ("frechet", "dinov2_vitl14", 50_000, "fd_dinov2_vitl14_50k"),
        ("frechet", "mobilenetv2", None, "fd_mobilenetv2"),
        ("frechet_infinity", "inception", None, "fid_infinity_inception"),
        ("kernel", "inception", 1024, "kid_inception_1024"),
        ("kernel", "digits", None, "kd_digits"),
        ("cmmd", "clip_vitl14_336", None, "cmmd_clip_vitl14_336"),
        ("cmmd", "clip_vitb32", None, "mmd_clip_vitb32"),
        ("clip_score", "clip_vitb32", None, "clip_score_vitb32"),
        ("inception_score", "inception", None, "is_inception"),
        ("recall", "digits", None, "recall_digits"),
        ("cmmd_unbiased", "clip_vitl14_336", 500, "cmmd_unbiased_clip_vitl14_336_500"),
        ("cmmd_unbiased", "digits", None, "mmd_unbiased_digits"),
        ("frechet", "clip_vitb32", 1500, "fd_clip_vitb32_1500"),
        ("frechet_infinity", "digits", None, "fd_infinity_digits"),
        ("clip_score_hundred", "clip_vitl14", None, "clip_score_hundred_vitl14"),
    ],
)
def test_names_say_what_changes_the_value(kind, feature_space, num, name):
    assert metric_name(kind, feature_space, num) == name


def test_options_that_are_not_the_published_ones_are_in_the_name_before_the_samples():
    assert metric_name("recall", "digits", 50_000, ("k10",)) == "recall_digits_k10_50k"
    score = metric_name("inception_score", "inception", 1024, ("splits1",))
    assert score == "is_inception_splits1_1024"


MADE = {
    "kind": "network",
    "backbone": {"name": "dinov2", "size": "small", "image_size": 224, "weights": "a.pth"},
    "normalise": "none",
    "dim": 384,
    "sha256": "5" * 64,
    "resize": "bicubic_antialias_224",
    "precision": "float32",
    "flop_per_image": 9,
}


def noted(content="c", shape=(3, 32, 32), **options):
    return feature_metadata("x", {"content": content, "encoder": MADE | options}, shape)


def test_a_note_says_what_features_are():
    found = noted()
    extractor = found.pop("extractor")
    assert len(extractor) == 64 and found == {
        "name": "x",
        "weights": "5" * 64,
        "resize": "bicubic_antialias_224",
        "precision": "float32",
        "image": [3, 32, 32],
    }
    classifier = {"content": "c", "model": {"name": "classifier", "dim": 64}}
    said = feature_metadata(None, classifier, (1, 8, 8))
    assert (said["weights"], said["resize"], said["precision"]) == (None, None, "float32")
    assert (
        said["extractor"]
        != feature_metadata(None, classifier | {"model": {"dim": 65}}, (1, 8, 8))["extractor"]
    )


def test_where_a_file_lies_and_what_it_costs_change_no_note():
    moved = MADE["backbone"] | {"weights": "elsewhere/b.pth"}
    assert noted() == noted(backbone=moved) == noted(flop_per_image=10)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"content": "d"}, ["feature extractor"]),
        ({"normalise": "l2"}, ["feature extractor"]),
        ({"backbone": MADE["backbone"] | {"image_size": 98}}, ["feature extractor"]),
        ({"sha256": "6" * 64}, ["weights 555555555555, got 666666666666"]),
        ({"resize": "tf1_bilinear_299"}, ["rule bicubic_antialias_224, got tf1_bilinear_299"]),
        ({"precision": "bfloat16"}, ["precision float32, got bfloat16"]),
        ({"shape": (1, 32, 32)}, [r"image shape \[3, 32, 32\], got \[1, 32, 32\]"]),
        ({"resize": "x", "sha256": "6"}, ["weights 5+, got 6; resize rule bicubic.*, got x"]),
    ],
)
def test_features_of_another_maker_are_refused_with_what_differs_alone(changed, words):
    everything = {"feature extractor", "weights", "resize rule", "precision", "image shape"}
    with refused("^here: these features cannot be compared .*; embed both by the same") as error:
        check_same_space(noted(), noted(**changed), "here")
    text = str(error.value)
    for word in words:
        with refused(word):
            raise ValueError(text)
    differ = text.split("wanted ")[1].split("; embed")[0]
    named = {word for word in everything if f"{word} " in differ}
    assert len(named) == len(changed)


def test_names_of_spaces_may_differ():
    check_same_space(noted(), noted() | {"name": "y"}, "here")


def test_lpips_is_called_after_its_weights():
    for net, row in NETS.items():
        published = manifest.entry(row.weights).files[0].sha256
        for given, name in (
            ((None, None), net),
            ((None, published), net),
            ((row.weights, None), net),
            (("mine.pth", published), net),  # checked where it is read
            (("mine.pth", None), f"{net}_other"),
            (("mine.pth", "0" * 64), f"{net}_other"),
            ((None, "0" * 64), f"{net}_other"),
        ):
            options = dict(zip(("weights", "sha256"), given, strict=True))
            assert lpips_net({"net": net} | options) == name
    (other,) = NETS.keys() - {"vgg"}
    assert lpips_net({"net": "vgg", "weights": NETS[other].weights, "sha256": None}) == "vgg_other"


@pytest.mark.parametrize("net", NETS)
def test_names_of_lpips_are_read_whatever_its_weights(net):
    for name in (net, f"{net}_other"):
        assert metric_labels.metric_label(f"lpips_{name}_diversity") == f"LPIPS diversity ({name})"
        assert not metric_labels.direction(f"lpips_{name}_to_monolith")
