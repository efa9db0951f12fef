"""How images become squares of the size that a network reads: part of the value of a metric.

    bicubic_antialias   torch's, to a square (not cropped) and not clamped: an overshoot stays, as
                        in the tensor path of EDM2 (arXiv:2312.02696)
    bicubic_pil         Pillow's of bytes: rounded to bytes and clamped after each of its two
                        passes, as in dgm-eval (arXiv:2306.04675), the `pil` mode of EDM2,
                        open_clip (CLIP score) and the official code of CMMD
    tf1_bilinear        out[i] at i * old / new, without the half pixel and without antialias, as
                        in TensorFlow 1, with which Inception's features were published

An image of the right size is left alone by all of them. The first and the last are linear and
their weights sum to 1, so that they commute with a normalisation of the colours; the second does
not. To add one, write a function (images, size) -> images with a row in RESIZES.
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
TOLERANCE = 1e-5  # of a value; bytes are 7.8e-3 apart, float32 knows 6e-8


def bicubic_antialias(x: Images, size: int) -> Square:
    """In floating point, overshoots and all."""
    return F.interpolate(x, (size, size), mode="bicubic", antialias=True, align_corners=False)


def bicubic_pil(x: Images, size: int) -> Square:
    """By Pillow, on the CPU; refuses what is not a byte."""
    from PIL import Image

    planes = in_bytes(x, "bicubic_pil").flatten(0, 1).numpy()
    filtered = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in planes]
    stored = np.stack([np.asarray(p) for p in filtered]).reshape(*x.shape[:2], size, size)
    return torch.from_numpy(pixel_values.to_values(stored, 255)).to(x.device)


def tf1_bilinear(x: Images, size: int) -> Square:
    """By torch-fidelity, which is epsilon-exact to TensorFlow 1."""
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    return interpolate_bilinear_2d_like_tensorflow1x(x, (size, size), align_corners=False)


RESIZES: dict[str, Callable[[Images, int], Square]] = {
    "bicubic_antialias": bicubic_antialias,
    "bicubic_pil": bicubic_pil,
    "tf1_bilinear": tf1_bilinear,
}


def in_bytes(x: Images, who: str) -> UInt8[Tensor, "batch channels height width"]:
    """The bytes that images in [-1, 1] stand for, on the CPU.

    Raises ValueError (one line) if a value stands for none: published numbers are of images that
    were stored, and a converter that rounds by itself would hide who did not.
    """
    values = x.cpu().numpy()
    with np.errstate(invalid="ignore"):  # nan stands for no byte
        stored = pixel_values.to_stored(values, 255)
    is_byte = np.abs(pixel_values.to_values(stored, 255) - values) <= TOLERANCE
    if not is_byte.all():
        first = values[~is_byte][0]
        raise ValueError(
            f"{who}: images outside uint8: wanted values 2 i / 255 - 1 of whole bytes i, got "
            f"{first:.6g} and {int((~is_byte).sum()) - 1} more; store the images as bytes"
        )
    return torch.from_numpy(stored)
