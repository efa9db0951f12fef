"""Pretrained networks without a head:  f = net((resize(x) - m) / s), one vector per image.

Images come as float values in [-1, 1], grey ones as one channel that all three get. With the
network's own mean and std (of images in [0, 1]) the normalisation is one multiply-add per value,

    a x + b,    a = 1 / (2 std),    b = (1/2 - mean) / std,

and, since the weights of a resize sum to 1, it commutes with the resize and is done first, where
there are usually fewer pixels. The resize is bicubic with antialias, to a square (not cropped),
and not clamped: an overshoot stays, as in the tensor path of EDM2 (arXiv:2312.02696). An image of
the right size is not resized.

On a GPU the network runs in bfloat16 where autocast says so, on a CPU in float32; networks of
convolutions keep channels last, which is twice as fast on CPUs too.

To add one, write a frozen dataclass with `load() -> Backbone` and give it a row in BACKBONES.
No weights are fetched and none are drawn: what the file lacks is an error.
"""

from routing.backbones.clip import CLIP
from routing.backbones.dinov2 import DINOv2
from routing.backbones.network import Backbone
from routing.backbones.timm import Timm

__all__ = ["BACKBONES", "CLIP", "Backbone", "DINOv2", "Timm"]
BACKBONES = {"dinov2": DINOv2, "clip": CLIP, "timm": Timm}
