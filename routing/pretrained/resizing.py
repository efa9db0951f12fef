"""Resize images to the square that a network reads. The filter changes the value of a metric.

    bicubic_antialias   torch's bicubic filter, not clamped: values may lie outside [-1, 1], as in
                        the tensor path of EDM2 (arXiv:2312.02696)
    bicubic_pil         Pillow's bicubic filter of bytes, rounded to bytes and clamped after each
                        of its two passes, as in dgm-eval (arXiv:2306.04675), the `pil` mode of
                        EDM2, open_clip (CLIP score) and the official code of CMMD
    tf1_bilinear        out[i] at i * old / new, without the half-pixel offset and without
                        antialias, as in TensorFlow 1, with which Inception's features were
                        published

Images are not cropped. An image of the right size is returned unchanged. The first and the last
filter are linear with weights that sum to 1, so they commute with a normalisation of the colours;
the second does not. To add one, write a function (images, size) -> images and give it a row in
RESIZES.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from routing.data import pixel_values

Images = Float[Tensor, "batch channels height width"]  # in [-1, 1]
Square = Float[Tensor, "batch channels size size"]
TOLERANCE = 1e-5  # bytes are 7.8e-3 apart; float32 resolves 6e-8


def bicubic_antialias(x: Images, size: int) -> Square:
    """Resize with torch, without clamping."""
    return F.interpolate(x, (size, size), mode="bicubic", antialias=True, align_corners=False)


def bicubic_pil(x: Images, size: int) -> Square:
    """Resize bytes with Pillow, on the CPU. Raises ValueError on values that are not bytes."""
    from PIL import Image

    planes = to_bytes(x, "bicubic_pil").flatten(0, 1).numpy()
    filtered = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in planes]
    stored = np.stack([np.asarray(p) for p in filtered]).reshape(*x.shape[:2], size, size)
    return torch.from_numpy(pixel_values.to_values(stored, 255)).to(x.device)


def tf1_bilinear(x: Images, size: int) -> Square:
    """Resize with torch-fidelity, which equals TensorFlow 1 up to rounding."""
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    return interpolate_bilinear_2d_like_tensorflow1x(x, (size, size), align_corners=False)


RESIZES: dict[str, Callable[[Images, int], Square]] = {
    "bicubic_antialias": bicubic_antialias,
    "bicubic_pil": bicubic_pil,
    "tf1_bilinear": tf1_bilinear,
}


def to_bytes(x: Images, name: str) -> UInt8[Tensor, "batch channels height width"]:
    """Return the bytes of images in [-1, 1], on the CPU.

    Raises ValueError, one line that begins with `name`, if a value is not a byte. Published
    numbers are of stored images, so values are not rounded here.
    """
    values = x.cpu().numpy()
    with np.errstate(invalid="ignore"):  # nan is not a byte
        stored = pixel_values.to_stored(values, 255)
    is_byte = np.abs(pixel_values.to_values(stored, 255) - values) <= TOLERANCE
    if not is_byte.all():
        first = values[~is_byte][0]
        raise ValueError(
            f"{name}: images outside uint8: wanted values 2 i / 255 - 1 of bytes i, got "
            f"{first:.6g} and {int((~is_byte).sum()) - 1} more; store the images as bytes"
        )
    return torch.from_numpy(stored)
