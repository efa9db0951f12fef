"""A network with its way of reading images (see `routing.backbones`), and the strict loading."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from routing.pretrained.resizing import RESIZES
from routing.pretrained.weight_files import refuse_broken
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
    """A network in eval mode, the square `size` it reads, and the sha256 of its weights.

    `precision` is what it is computed in, which on a CPU is float32 whatever was asked for.
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
        """Move `net` to the GPU if there is one."""
        self.device = devices.best()
        self.size, self.sha256, self.resize = size, sha256, resize
        self.precision = precision if self.device.type == "cuda" else "float32"
        is_convolutional = sum(isinstance(part, nn.Conv2d) for part in net.modules()) > 1
        self.layout = torch.channels_last if is_convolutional else torch.contiguous_format
        net = net.eval().requires_grad_(False).to(self.device)
        self.net = net.to(memory_format=self.layout)
        m, s = (torch.tensor(v, device=self.device)[:, None, None] for v in (mean, std))
        self._scale, self._shift = 0.5 / s, (0.5 - m) / s

    def __call__(self, x: Images) -> Features:
        """Features, on the device of the network."""
        with torch.inference_mode(), self.computing():
            return self.net(self.prepared(x)).float()

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Where the network runs: in its precision, whatever holds outside, which comes back."""
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
        """Images as the network reads them: normalised, resized, on its device, in its layout."""
        refuse_latents(x)
        is_resized = x.shape[2:] != (self.size, self.size)
        if is_resized and self.resize == "bicubic_pil":  # of bytes
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
        """Work of one evaluation; a multiply-add is two."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[int, int]:
        from torch.utils.flop_counter import FlopCounterMode

        x = self.prepared(-torch.ones(1, 3, self.size, self.size))  # whole bytes
        # The counter knows no fused attention of CPUs, and nothing inside inference mode.
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            features = self.net(x)
        return features.shape[1], counter.get_total_flops()


def refuse_latents(x: Images) -> None:
    """Raise ValueError (one line) if there are neither one nor three channels."""
    if x.shape[1] not in (1, 3):
        raise ValueError(
            f"a pretrained network wants images of 1 or 3 channels, got {x.shape[1]}; use pca or "
            f"identity for latents"
        )


def loaded(net: nn.Module, state: State, where: str) -> None:
    """Give `net` all tensors of `state`, as float32, or say in one line what does not fit.

    Nothing may be missing but counts of training batches, which no evaluation reads.
    """
    wanted = net.state_dict()
    names = [name for name in wanted if name.endswith(".num_batches_tracked")]
    counts = dict.fromkeys(names, torch.tensor(0, device="cpu"))
    state = {n: t.float() if t.is_floating_point() else t for n, t in (counts | state).items()}
    problems = [f"{name} is missing" for name in wanted if name not in state]
    problems += [f"{name} is not of this network" for name in state if name not in wanted]
    problems += [
        f"{name} has shape {list(state[name].shape)} for {list(wanted[name].shape)}"
        for name in wanted
        if name in state and list(state[name].shape) != list(wanted[name].shape)
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ValueError(
            f"{where}: wanted the weights of this network, got others: "
            f"{', '.join(problems[:3])}{more}; give the file that belongs to the options"
        )
    refuse_broken(state, where)
    net.load_state_dict(state, strict=True, assign=True)
    assert not any(t.is_meta for t in [*net.parameters(), *net.buffers()]), where
