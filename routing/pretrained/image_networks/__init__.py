"""Pretrained networks without a head:  f = net((resize(x) - m) / s), one vector per image.

Images come as float values in [-1, 1], grey ones as one channel that all three get. With the
network's own mean and std (of images in [0, 1]) the normalisation is one multiply-add per value,

    a x + b,    a = 1 / (2 std),    b = (1/2 - mean) / std,

and, where the resize is linear, it is done first, where there are usually fewer pixels (see
`routing.pretrained.resizing`). Inception reads bytes and says so itself.

Precision is part of the value. `bfloat16` is autocast on a GPU; on a CPU, and with `float32`,
there is neither autocast nor TF32. Networks of convolutions keep channels last, which is twice as
fast on CPUs too.

To add one, write a frozen dataclass with `load() -> Backbone` and give it a row in BACKBONES.
No weights are fetched and none are drawn: what the file lacks is an error.
"""

from routing.pretrained.image_networks.clip import CLIP
from routing.pretrained.image_networks.dinov2 import DINOv2
from routing.pretrained.image_networks.inception import Inception
from routing.pretrained.image_networks.network import Backbone
from routing.pretrained.image_networks.timm import Timm

__all__ = ["BACKBONES", "CLIP", "Backbone", "DINOv2", "Inception", "Timm"]
BACKBONES = {"inception": Inception, "dinov2": DINOv2, "clip": CLIP, "timm": Timm}
