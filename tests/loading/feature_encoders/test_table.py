"""The table of feature encoders."""

from routing.loading.feature_encoders.identity import Identity
from routing.loading.feature_encoders.pca import PCA
from routing.loading.feature_encoders.pretrained import CLIP, DINOv2, Inception, Timm
from routing.loading.feature_encoders.registry import ENCODERS


def test_the_table_of_encoders():
    assert ENCODERS == {
        "pca": PCA,
        "identity": Identity,
        "dinov2": DINOv2,
        "clip": CLIP,
        "timm": Timm,
        "inception": Inception,
    }


def test_the_field_normalises_what_it_clusters():
    assert DINOv2().normalise == CLIP().normalise == "l2"
    assert Timm("x", "y").normalise == "none"
