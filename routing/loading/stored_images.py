"""What a network sees of stored samples: images in [-1, 1], as they are when they are stored.

Latents are decoded; samples are then clipped and rounded to the storable values, as real images
were.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from routing.data import pixel_values

LEVELS = 255  # of decoded images


def viewer(notes: dict[str, Any], is_decoded: bool) -> Callable[[np.ndarray], np.ndarray]:
    """From stored samples with these `notes` to values; `is_decoded`: from latents to images."""
    levels = notes["levels"]
    if is_decoded:
        import torch

        from routing.pretrained import autoencoders

        decode = autoencoders.load(notes["autoencoder"]).decode  # those weights or none
        return lambda latents: pixel_values.quantised(
            decode(torch.from_numpy(latents)).numpy(), LEVELS
        )

    def see(stored: np.ndarray) -> np.ndarray:
        if stored.dtype.kind == "f":
            return pixel_values.quantised(stored, levels)
        return pixel_values.to_values(stored, levels)

    return see
