"""The table of feature encoders; the package's docstring says how to add one."""

from routing.loading.feature_encoders.identity import Identity
from routing.loading.feature_encoders.pca import PCA
from routing.loading.feature_encoders.pretrained import CLIP, DINOv2, Inception, Timm

ENCODERS = {
    "pca": PCA,
    "identity": Identity,
    "inception": Inception,
    "dinov2": DINOv2,
    "clip": CLIP,
    "timm": Timm,
}
