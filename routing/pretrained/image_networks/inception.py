"""Inception-v3 (2015) from the file of torch-fidelity; features equal theirs up to rounding.

    f = pool(net((TF1(i) - 128) / 128)),    logits = W f,    i in 0..255

for images of bytes i. `W` is the last layer without its bias, for the 1008 classes of the
Inception score. The network is built from torch-fidelity's blocks, whose average pools do not
count the border, as in TensorFlow. The file is read here, because torch-fidelity unpickles it
unchecked.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.backbone import Backbone, Images, require_image_channels
from routing.pretrained.resizing import tf1_bilinear, to_bytes
from routing.pretrained.weight_files import load_weights, read_tensors
from routing.workflow.choices import Sha256

SIZE, DIM, CLASSES = 299, 2048, 1008


@dataclass(frozen=True)
class Inception:
    """The 2048 pooled units of Inception-v3 (arXiv:1512.00567), in which FID is defined.

    `weights` is a file in the layout of torch-fidelity, or an id of the manifest. It is
    computed in float32; images must be bytes.
    """

    weights: str = "inception-v3"
    sha256: Sha256 | None = None

    def load(self) -> Backbone:
        """Return the network with its weights."""
        path = weights.locate(self.weights, sha256=self.sha256)
        with torch.device("meta"):
            net = InceptionV3()
        load_weights(net, read_tensors(path), f"inception: {path}")
        return InceptionBackbone(net, weights.sha256_of(path))


class InceptionV3(nn.Module):
    """The network, with the parameter names of the published file."""

    def __init__(self):
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
        """Return the pooled units; `InceptionBackbone.logits` applies the last layer."""
        for name in self.trunk:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


class InceptionBackbone(Backbone):
    """Inception with the preprocessing of TensorFlow 1, and its logits."""

    def __init__(self, net: InceptionV3, sha256: str):
        super().__init__(
            net, SIZE, (0.5,) * 3, (0.5,) * 3, sha256, resize="tf1_bilinear", precision="float32"
        )

    def prepared(self, x: Images) -> Float[Tensor, "batch 3 299 299"]:
        """Return resized images in [-1, 127/128], the range of the published network."""
        require_image_channels(x)
        x = tf1_bilinear(to_bytes(x, "inception").to(self.device).float(), self.size)
        x = ((x - 128) / 128).expand(-1, 3, -1, -1)
        return x.contiguous(memory_format=self.layout)

    def logits(self, features: Float[Tensor, "batch 2048"]) -> Float[Tensor, "batch 1008"]:
        """Return the logits without the bias, as in the Inception score of TensorFlow."""
        with torch.inference_mode(), self.computing():
            return features @ self.net.fc.weight.T
