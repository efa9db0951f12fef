"""Autoencoders: images as the latents in which diffusion models of larger images are trained.

    z = (mean(x) - shift) scale            encode
    x = clip(decoder(z / scale + shift))   decode

`mean(x)` is the mean of the autoencoder's posterior q(z | x), not a draw, so that latents are the
same whenever and on whatever machine they are made. Departs from Rombach et al. 2022
(arXiv:2112.10752, sec. 3.1 and D.1), who draw: with their KL weight of about 1e-6 the posterior
is nearly a point (its spread is what the decoder does not see). `scale` makes latents of about
unit variance, 0.18215 for the autoencoders of Stable Diffusion 1 and 2; `shift` is the newer
ones' (Stable Diffusion 3, FLUX).

To add an autoencoder, write a frozen dataclass whose `load()` returns what `Autoencoder` offers
and give
it a row in CODECS.
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
    """A loaded autoencoder: latents of images and images of latents, `batch_size` at a time.

    `factor` pixels of a side are one latent. `note` goes into the provenance of what it makes:
    `load(note)` is this autoencoder again, or an error if the folder now holds other weights.
    All in float32 even under autocast: in half precision the decoder of SDXL overflows, and the
    latents are made once.
    """

    def __init__(self, net: nn.Module, scale: float, shift: float, batch_size: int, note: dict):
        """Hold a diffusers AutoencoderKL."""
        self.net, self.scale, self.shift, self.batch_size = net, scale, shift, batch_size
        self.note = note
        self.device = next(net.parameters()).device
        self.channels, self.num_latents = net.config.in_channels, net.config.latent_channels
        self.factor = 2 ** (len(net.config.block_out_channels) - 1)

    def encode(self, values: Values) -> Latents:
        """Latents, on the CPU. Raises ValueError on images that the autoencoder cannot take."""
        _, height, width = self.refuse_shape(tuple(values.shape[1:]))
        shape = (self.num_latents, height // self.factor, width // self.factor)
        return self._batches(
            lambda x: (self.net.encode(x).latent_dist.mean - self.shift) * self.scale,
            values,
            shape,
        )

    def decode(self, latents: Latents) -> Values:
        """Images clipped to [-1, 1], on the CPU. Raises ValueError on other latents."""
        if latents.shape[1] != self.num_latents:
            raise ValueError(
                f"autoencoder: wanted latents of {self.num_latents} channels, got "
                f"{latents.shape[1]}; "
                f"decode with the autoencoder that made them"
            )
        _, _, rows, columns = latents.shape
        shape = (self.net.config.out_channels, rows * self.factor, columns * self.factor)

        def values(z: Tensor) -> Tensor:
            return self.net.decode(z / self.scale + self.shift).sample.clamp(-1, 1)

        return self._batches(values, latents, shape)

    def refuse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`shape`; ValueError unless it is a (channels, height, width) that has latents."""
        if len(shape) != 3 or shape[0] != self.channels:
            raise ValueError(
                f"autoencoder: wanted images of {self.channels} channels, got samples of shape "
                f"{shape}; "
                f"take another source or leave the autoencoder out"
            )
        if shape[1] % self.factor or shape[2] % self.factor:
            raise ValueError(
                f"autoencoder: wanted sides that are multiples of {self.factor} (pixels for a "
                f"latent), "
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
    """diffusers' AutoencoderKL from a local folder (config.json, safetensors), a path or an id.

    Without `scale` and `shift` it takes those of its config; `sha256` is what its weights must be.
    """

    folder: str
    scale: float | None = None
    shift: float | None = None
    sha256: choices.Sha256 | None = None
    batch_size: int = 32

    def __post_init__(self):
        """Refuse what divides by nothing."""
        if self.scale is not None and self.scale <= 0:
            raise ValueError(f"scale: wanted a number > 0, got {self.scale}; 0.18215 is usual")
        if self.batch_size < 1:
            raise ValueError(f"batch_size: wanted at least 1, got {self.batch_size}; raise it")

    def load(self) -> Autoencoder:
        """Read the weights. Raises ValueError on a folder that is not of such an autoencoder."""
        from diffusers import AutoencoderKL as Network

        # Else diffusers wants accelerate, and says so at length.
        options = {"low_cpu_mem_usage": False}
        folder = model_folders.found(self.folder)
        net, sha256 = model_folders.network(Network, folder, WEIGHTS, self.sha256, **options)
        config = net.config
        if config.latents_mean is not None or config.latents_std is not None:
            raise ValueError(
                f"folder: wanted an autoencoder with one scale for all channels, got "
                f"latents_mean or latents_std in the config of {self.folder}; take another"
            )
        scale = config.scaling_factor if self.scale is None else self.scale
        shift = (config.shift_factor or 0.0) if self.shift is None else self.shift
        used = {"scale": scale, "shift": shift, "sha256": sha256}
        return Autoencoder(
            net, scale, shift, self.batch_size, choices.describe(_table(), self) | used
        )


AUTOENCODERS: dict[str, type] = {"autoencoder_kl": AutoencoderKL}


def load(value: Any) -> Autoencoder:
    """The autoencoder that `value` ({name: ..., options}) describes."""
    autoencoder = choices.build(_table(), value, "autoencoder")
    try:
        return autoencoder.load()
    except ValueError as error:
        raise ValueError(f"autoencoder.{error}") from None


def _table() -> choices.Table:
    return choices.with_plugins("autoencoders", AUTOENCODERS)
