"""Autoencoders: maps between images and the latents in which diffusion models are trained.

    z = (mean(x) - shift) scale            encode
    x = clip(decoder(z / scale + shift))   decode

`mean(x)` is the mean of the autoencoder's posterior q(z | x), so latents are reproducible. This
departs from Rombach et al. 2022 (arXiv:2112.10752, sec. 3.1 and D.1), who sample from q: with
their KL weight of about 1e-6 it is nearly a point mass. `scale` gives latents of about unit
variance; it is 0.18215 for the autoencoders of Stable Diffusion 1 and 2. `shift` is used by newer
ones (Stable Diffusion 3, FLUX).

To add an autoencoder, write a frozen dataclass whose `load()` returns an object with the methods
of `Autoencoder`, and give it a row in AUTOENCODERS.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from routing.pretrained import model_folders
from routing.workflow import choices

WEIGHTS = "diffusion_pytorch_model.safetensors"
Values = Float[Tensor, "images channels height width"]  # in [-1, 1]
Latents = Float[Tensor, "images latents rows columns"]


class Autoencoder:
    """A loaded autoencoder, which encodes and decodes `batch_size` images at a time.

    A square of `factor` x `factor` pixels becomes one latent. `note` describes the autoencoder
    in the metadata of its latents: `load(note)` returns it again, or raises ValueError if the
    folder has other weights by then. It computes in float32, even under autocast, because in
    half precision the decoder of SDXL overflows.
    """

    def __init__(self, net: nn.Module, scale: float, shift: float, batch_size: int, note: dict):
        self.net, self.scale, self.shift, self.batch_size = net, scale, shift, batch_size
        self.note = note
        self.device = next(net.parameters()).device
        self.channels, self.num_latents = net.config.in_channels, net.config.latent_channels
        self.factor = 2 ** (len(net.config.block_out_channels) - 1)

    def encode(self, values: Values) -> Latents:
        """Return latents, on the CPU. Raises ValueError on images of another shape."""
        _, height, width = self.require_shape(tuple(values.shape[1:]))
        shape = (self.num_latents, height // self.factor, width // self.factor)
        return self._batches(
            lambda x: (self.net.encode(x).latent_dist.mean - self.shift) * self.scale,
            values,
            shape,
        )

    def decode(self, latents: Latents) -> Values:
        """Return images clipped to [-1, 1], on the CPU. Raises ValueError on other latents."""
        if latents.shape[1] != self.num_latents:
            raise ValueError(
                f"autoencoder: wanted latents of {self.num_latents} channels, got "
                f"{latents.shape[1]}; decode with the autoencoder that encoded them"
            )
        _, _, rows, columns = latents.shape
        shape = (self.net.config.out_channels, rows * self.factor, columns * self.factor)

        def values(z: Tensor) -> Tensor:
            return self.net.decode(z / self.scale + self.shift).sample.clamp(-1, 1)

        return self._batches(values, latents, shape)

    def require_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return `shape`. Raises ValueError unless it is (channels, height, width) of images."""
        if len(shape) != 3 or shape[0] != self.channels:
            raise ValueError(
                f"autoencoder: wanted images of {self.channels} channels, got samples of shape "
                f"{shape}; use another source or remove the autoencoder"
            )
        if shape[1] % self.factor or shape[2] % self.factor:
            raise ValueError(
                f"autoencoder: wanted sides that are multiples of {self.factor} pixels, "
                f"got {shape[1]} x {shape[2]}; change data.image.size"
            )
        return shape

    @torch.no_grad()
    def _batches(self, of, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        made = torch.empty(len(x), *shape)
        with torch.autocast(self.device.type, enabled=False):
            for first in range(0, len(x), self.batch_size):
                rows = slice(first, first + self.batch_size)
                made[rows] = of(x[rows].to(self.device, torch.float32)).cpu()
        return made


@dataclass(frozen=True)
class AutoencoderKL:
    """The AutoencoderKL of diffusers, from a local folder with config.json and safetensors.

    `folder` is a path or an id of the manifest, `sha256` that of the weights. Without `scale` and
    `shift` those of its config.json are used.
    """

    folder: str
    scale: float | None = None
    shift: float | None = None
    sha256: choices.Sha256 | None = None
    batch_size: int = 32

    def __post_init__(self):
        """Validate the options."""
        if self.scale is not None and self.scale <= 0:
            raise ValueError(f"scale: wanted a number > 0, got {self.scale}; 0.18215 is usual")
        if self.batch_size < 1:
            raise ValueError(f"batch_size: wanted at least 1, got {self.batch_size}; raise it")

    def load(self) -> Autoencoder:
        """Return the autoencoder. Raises ValueError on a folder of another network."""
        from diffusers import AutoencoderKL as Network

        # Without it diffusers asks for accelerate, in a long warning.
        options = {"low_cpu_mem_usage": False}
        folder = model_folders.locate_folder(self.folder)
        net, sha256 = model_folders.load_network(Network, folder, WEIGHTS, self.sha256, **options)
        config = net.config
        if config.latents_mean is not None or config.latents_std is not None:
            raise ValueError(
                f"folder: wanted an autoencoder with one scale for all channels, got "
                f"latents_mean or latents_std in the config of {self.folder}; use another"
            )
        scale = config.scaling_factor if self.scale is None else self.scale
        shift = (config.shift_factor or 0.0) if self.shift is None else self.shift
        used = {"scale": scale, "shift": shift, "sha256": sha256}
        return Autoencoder(
            net, scale, shift, self.batch_size, choices.describe(_table(), self) | used
        )


AUTOENCODERS: dict[str, type] = {"autoencoder_kl": AutoencoderKL}


def load(value: Any) -> Autoencoder:
    """Return the autoencoder that `value` ({name: ..., options}) describes."""
    autoencoder = choices.build(_table(), value, "autoencoder")
    try:
        return autoencoder.load()
    except ValueError as error:
        raise ValueError(f"autoencoder.{error}") from None


def _table() -> choices.Table:
    return choices.with_plugins("autoencoders", AUTOENCODERS)
