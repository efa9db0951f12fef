"""Stage latents: encode one shard of images with an autoencoder.

Experts, the probe and routers read these latents instead of the images.
"""

from collections.abc import Iterator

import numpy as np
import torch

from routing.data import pixel_values
from routing.pretrained import autoencoders

FLOAT16_MAX = np.finfo(np.float16).max


def run(job) -> None:
    """Write `samples`, float16 [images, latents, rows, columns], from the shard `samples`."""
    levels = job.metadata("samples")["levels"]
    if levels is None:
        raise ValueError(
            "autoencoder: wanted a source of images, got samples that are real numbers; set "
            "autoencoder to null"
        )
    coder = autoencoders.load(job.spec["autoencoder"])
    stored = job.mapped("samples")["samples"]
    job.device = str(coder.device)
    blocks = ({"samples": block} for block in encode_blocks(coder, stored, levels))
    job.write_array_blocks("samples", blocks, levels=None, world=None, autoencoder=coder.note)


def encode_blocks(
    coder: autoencoders.Autoencoder, stored: np.ndarray, levels: int
) -> Iterator[np.ndarray]:
    """Yield the latents of `stored`, a batch at a time; one empty batch if there are no images.

    Raises ValueError if a latent is not finite in float16.
    """
    for first in range(0, max(1, len(stored)), coder.batch_size):
        batch = pixel_values.to_values(stored[first : first + coder.batch_size], levels)
        latents = coder.encode(torch.from_numpy(batch)).numpy()
        if not (np.abs(latents) <= FLOAT16_MAX).all():  # False for nan, too
            raise ValueError(
                f"autoencoder: wanted latents that float16 can hold, got others for rows "
                f"{first} to {first + len(batch) - 1}; check scale and the weights"
            )
        yield latents.astype(np.float16)
