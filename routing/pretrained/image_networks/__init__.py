"""Pretrained image networks without a head:  f = net((resize(x) - m) / s), a vector per image.

Images are float values in [-1, 1]; the channel of a grey image is used three times. With the
network's mean and std (of images in [0, 1]) the normalisation is one multiply-add per value,

    a x + b,    a = 1 / (2 std),    b = (1/2 - mean) / std,

done before the resize if that is linear, because there are usually fewer pixels
(`routing.pretrained.resizing`). Inception reads bytes.

Precision changes the features. `bfloat16` is autocast on a GPU; on a CPU, and with `float32`,
there is neither autocast nor TF32. Convolutional networks use the layout channels-last, which is
twice as fast, also on CPUs.

To add a network, write a frozen dataclass with `load() -> Backbone` and give it a row in
BACKBONES. Weights are neither downloaded nor drawn: a tensor that the file lacks is an error.
"""

from routing.pretrained.image_networks.backbone import Backbone
from routing.pretrained.image_networks.clip import CLIP
from routing.pretrained.image_networks.dinov2 import DINOv2
from routing.pretrained.image_networks.inception import Inception
from routing.pretrained.image_networks.timm import Timm

__all__ = ["BACKBONES", "CLIP", "Backbone", "DINOv2", "Inception", "Timm"]
BACKBONES = {"inception": Inception, "dinov2": DINOv2, "clip": CLIP, "timm": Timm}
