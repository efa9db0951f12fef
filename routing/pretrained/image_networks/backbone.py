"""Backbone: a pretrained image network with the preprocessing of its images."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from routing.pretrained.resizing import RESIZES
from routing.workflow import devices

Precision = Literal["float32", "bfloat16"]
Resize = Literal["bicubic_antialias", "bicubic_pil", "tf1_bilinear"]
Colour = tuple[float, float, float]
Images = Float[Tensor, "batch channels height width"]  # in [-1, 1]; 1 or 3 channels
Features = Float[Tensor, "batch features"]
State = dict[str, Tensor]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class Backbone:
    """A network in evaluation mode:  f = net((resize(x) - mean) / std).

    `size` is the side of its input images in pixels, `sha256` that of its weights. It is computed
    in `precision`, on a CPU always in float32.
    """

    def __init__(
        self,
        net: nn.Module,
        size: int,
        mean: Colour,
        std: Colour,
        sha256: str,
        precision: Precision = "bfloat16",
        resize: Resize = "bicubic_antialias",
    ):
        self.device = devices.best_device()
        self.size, self.sha256, self.resize = size, sha256, resize
        self.precision = precision if self.device.type == "cuda" else "float32"
        is_convolutional = sum(isinstance(part, nn.Conv2d) for part in net.modules()) > 1
        self.layout = torch.channels_last if is_convolutional else torch.contiguous_format
        net = net.eval().requires_grad_(False).to(self.device)
        self.net = net.to(memory_format=self.layout)
        m, s = (torch.tensor(v, device=self.device)[:, None, None] for v in (mean, std))
        self._scale, self._shift = 0.5 / s, (0.5 - m) / s

    def __call__(self, x: Images) -> Features:
        """Return the features of images, on the device of the network."""
        with torch.inference_mode(), self.computing():
            return self.net(self.prepared(x)).float()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Set autocast and TF32 for the precision of the network, and restore them."""
        is_low = self.precision == "bfloat16"
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        before = matmul.allow_tf32
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=is_low),
            cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
        ):
            try:
                matmul.allow_tf32 = False
                yield
            finally:
                matmul.allow_tf32 = before

    def prepared(self, x: Images) -> Float[Tensor, "batch 3 size size"]:
        """Return normalised, resized images on the device and in the layout of the network."""
        require_image_channels(x)
        is_resized = x.shape[2:] != (self.size, self.size)
        if is_resized and self.resize == "bicubic_pil":  # which reads bytes
            x, is_resized = RESIZES[self.resize](x, self.size), False
        x = torch.addcmul(self._shift, x.to(self.device, non_blocking=True), self._scale)
        if is_resized:
            x = RESIZES[self.resize](x, self.size)
        return x.contiguous(memory_format=self.layout)

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return self._measured[0]

    @property
    def flop_per_image(self) -> int:
        """FLOPs of one evaluation; a multiply-add counts as two."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[int, int]:
        from torch.utils.flop_counter import FlopCounterMode

        x = self.prepared(-torch.ones(1, 3, self.size, self.size))  # a value of an image in bytes
        # The counter sees neither the fused attention of CPUs nor inference mode.
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            features = self.net(x)
        return features.shape[1], counter.get_total_flops()


def require_image_channels(x: Images) -> None:
    """Raise ValueError unless there are one or three channels."""
    if x.shape[1] not in (1, 3):
        raise ValueError(
            f"encoder: wanted images of 1 or 3 channels, got {x.shape[1]}; use pca or identity "
            f"for latents"
        )
