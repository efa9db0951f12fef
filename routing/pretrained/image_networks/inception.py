"""Inception-v3 of 2015 in the file of torch-fidelity, whose features it gives to rounding.

    f = pool(net((TF1(i) - 128) / 128)),    logits = W f,    i in 0..255

for images of bytes i; `W` is the last layer without its bias, of the 1008 classes of the Inception
score. The network is built from torch-fidelity's own blocks (average pools that do not count their
border, as TensorFlow's), but the file is read here: theirs is unpickled before it is looked at.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.network import Backbone, Images, loaded, refuse_latents
from routing.pretrained.resizing import in_bytes, tf1_bilinear
from routing.pretrained.weight_files import tensors
from routing.workflow.choices import Sha256

SIZE, DIM, CLASSES = 299, 2048, 1008


@dataclass(frozen=True)
class Inception:
    """The 2048 pooled units of Inception-v3 (arXiv:1512.00567), in which FID is defined.

    `weights` is a file in the layout of torch-fidelity, or an id of the manifest. Always in
    float32; images must be whole bytes.
    """

    weights: str = "inception-v3"
    sha256: Sha256 | None = None

    def load(self) -> Backbone:
        """The network with its weights."""
        path = weights.locate(self.weights, sha256=self.sha256)
        with torch.device("meta"):
            net = InceptionV3()
        loaded(net, tensors(path), f"inception: {path}")
        return Pool3(net, weights.sha256_of(path))


class InceptionV3(nn.Module):
    """The network under the names of the published file."""

    def __init__(self):
        """No weights are drawn that anyone would read."""
        super().__init__()
        from torch_fidelity import feature_extractor_inceptionv3 as blocks

        conv, pool = blocks.BasicConv2d, nn.MaxPool2d
        parts = OrderedDict(
            Conv2d_1a_3x3=conv(3, 32, kernel_size=3, stride=2),
            Conv2d_2a_3x3=conv(32, 32, kernel_size=3),
            Conv2d_2b_3x3=conv(32, 64, kernel_size=3, padding=1),
            MaxPool_1=pool(kernel_size=3, stride=2),
            Conv2d_3b_1x1=conv(64, 80, kernel_size=1),
            Conv2d_4a_3x3=conv(80, 192, kernel_size=3),
            MaxPool_2=pool(kernel_size=3, stride=2),
            Mixed_5b=blocks.InceptionA(192, pool_features=32),
            Mixed_5c=blocks.InceptionA(256, pool_features=64),
            Mixed_5d=blocks.InceptionA(288, pool_features=64),
            Mixed_6a=blocks.InceptionB(288),
            Mixed_6b=blocks.InceptionC(768, channels_7x7=128),
            Mixed_6c=blocks.InceptionC(768, channels_7x7=160),
            Mixed_6d=blocks.InceptionC(768, channels_7x7=160),
            Mixed_6e=blocks.InceptionC(768, channels_7x7=192),
            Mixed_7a=blocks.InceptionD(768),
            Mixed_7b=blocks.InceptionE_1(1280),
            Mixed_7c=blocks.InceptionE_2(2048),
        )
        self.trunk = tuple(parts)
        for name, part in parts.items():
            self.add_module(name, part)
        self.fc = nn.Linear(DIM, CLASSES)

    def forward(self, x: Float[Tensor, "batch 3 299 299"]) -> Float[Tensor, "batch 2048"]:
        """The pooled units; the last layer is `logits` of the backbone."""
        for name in self.trunk:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


class Pool3(Backbone):
    """Inception's way of reading images, and of telling classes."""

    def __init__(self, net: InceptionV3, sha256: str):
        """See `routing.pretrained.image_networks.network`; the colours are normalised here."""
        super().__init__(
            net, SIZE, (0.5,) * 3, (0.5,) * 3, sha256, resize="tf1_bilinear", precision="float32"
        )

    def prepared(self, x: Images) -> Float[Tensor, "batch 3 299 299"]:
        """Bytes, resized as bytes are, to [-1, 127/128] (not 1: the published network's range)."""
        refuse_latents(x)
        x = tf1_bilinear(in_bytes(x, "inception").to(self.device).float(), self.size)
        x = ((x - 128) / 128).expand(-1, 3, -1, -1)
        return x.contiguous(memory_format=self.layout)

    def logits(self, features: Float[Tensor, "batch 2048"]) -> Float[Tensor, "batch 1008"]:
        """Without the bias, as the Inception score of TensorFlow has them."""
        with torch.inference_mode(), self.computing():
            return features @ self.net.fc.weight.T
