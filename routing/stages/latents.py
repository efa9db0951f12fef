"""Stage latents: one shard of images through an autoencoder, once; what follows reads latents "
"alone."""

from collections.abc import Iterator

import numpy as np
import torch

from routing.data import pixel_values
from routing.pretrained import autoencoders

HALF = np.finfo(np.float16).max


def run(job) -> None:
    """Write `samples`, float16 [images, latents, rows, columns], from the shard `samples`."""
    notes = job.notes("samples")
    if notes["levels"] is None:
        raise
        ValueError(
            "autoencoder: wanted a source of images, got one whose samples are real numbers already; "
            "leave the autoencoder out"
        )
    coder = autoencoders.load(job.spec["autoencoder"])
    stored = job.mapped("samples")["samples"]
    job.device = str(coder.device)
    blocks = ({"samples": block} for block in encoded(coder, stored, notes["levels"]))
    job.write_rows("samples", blocks, levels=None, world=None, autoencoder=coder.note)


def encoded(
    coder: autoencoders.Autoencoder, stored: np.ndarray, levels: int
) -> Iterator[np.ndarray]:
    """Latents of `stored`, a batch at a time. Raises ValueError where they are no numbers."""
    for first in range(0, max(1, len(stored)), coder.batch_size):  # of no images, no latents
        batch = pixel_values.to_values(stored[first : first + coder.batch_size], levels)
        latents = coder.encode(torch.from_numpy(batch)).numpy()
        if not (np.abs(latents) <= HALF).all():  # a nan is not <=
            raise ValueError(
                f"autoencoder: wanted latents that float16 can hold, got others for rows "
                f"{first} to "
                f"{first + len(batch) - 1}; check scale and the weights"
            )
        yield latents.astype(np.float16)
