"""What spaces are called: no proxy wears a famous name, and a metric is named after its space."""

import pytest

from routing import choices
from routing.encoder import ENCODERS
from routing.spaces import check_name, label, metric_name


def resolved(name, **options):
    return choices.resolve(ENCODERS, {"name": name} | options, "encoders.x")


PLAIN = {"normalise": "none", "precision": "float32"}


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (resolved("inception"), "inception"),
        (resolved("dinov2", size="large", **PLAIN), "dinov2_vitl14"),
        (resolved("dinov2", size="small", **PLAIN), "dinov2_vits14"),
        (resolved("clip", **PLAIN), "clip_vitb32"),
        (resolved("clip", model="ViT-L-14-336-quickgelu", **PLAIN), "clip_vitl14_336"),
        (resolved("dinov2", size="large"), None),  # of unit length
        (resolved("dinov2", size="large", dim=64, **PLAIN), None),
        (resolved("pca"), None),
    ],
)
def test_the_fields_name_is_of_the_published_options_alone(choice, name):
    assert label(choice) == name
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
    ],
)
def test_a_name_that_is_not_deserved_is_refused(key, choice, word):
    with pytest.raises(ValueError, match=word):
        check_name("encoders.x", key, choice)


@pytest.mark.parametrize(
    ("kind", "space", "num", "name"),
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
    ],
)
def test_names_say_what_changes_the_value(kind, space, num, name):
    assert metric_name(kind, space, num) == name
