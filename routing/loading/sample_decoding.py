"""Stored samples as the images that metric networks read.

Latents are decoded. Generated samples are clipped to [-1, 1] and rounded to the values that an
image file can hold, as real images are.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from routing.data import pixel_values

DECODED_LEVELS = 255  # largest value of a pixel of decoded images


def make_decoder(
    metadata: dict[str, Any], decodes_latents: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from stored samples with this `metadata` to float values.

    With `decodes_latents`, samples are latents and the autoencoder of the metadata decodes them.
    Raises ValueError if its weights are missing or have changed.
    """
    levels = metadata["levels"]
    if decodes_latents:
        import torch

        from routing.pretrained import autoencoders

        decode = autoencoders.load(metadata["autoencoder"]).decode
        return lambda latents: pixel_values.quantised(
            decode(torch.from_numpy(latents)).numpy(), DECODED_LEVELS
        )

    def values(stored: np.ndarray) -> np.ndarray:
        if stored.dtype.kind == "f":
            return pixel_values.quantised(stored, levels)
        return pixel_values.to_values(stored, levels)

    return values
