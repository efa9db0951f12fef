"""Sinusoidal embeddings of times and positions, and patches of images.

Sources: Vaswani et al. 2017, arXiv:1706.03762 (sinusoids); DiT, Peebles & Xie 2023,
arXiv:2212.09748 (positions on a grid, patches).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Image = Float[Tensor, "batch channels side side"]
Patches = Float[Tensor, "batch tokens values"]


def sinusoid(position: Float[Tensor, " n"], num: int) -> Float[Tensor, "n num"]:
    """Return cos(position f_i), then sin(position f_i) : f_i = 10000^(-2 i / num), i < num / 2."""
    i = torch.arange(num // 2, dtype=position.dtype, device=position.device)
    angle = position[:, None] * torch.exp(-2 * math.log(10000) / num * i)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def grid_sinusoid(side: int, width: int) -> Float[Tensor, "tokens width"]:
    """Return fixed position embeddings, row by row as in DiT.

    Each has sin, cos of the column, then sin, cos of the row.
    """
    axis = sinusoid(torch.arange(side, dtype=torch.float32), width // 2).roll(width // 4, dims=-1)
    column, row = axis.expand(side, -1, -1), axis[:, None].expand(-1, side, -1)
    return torch.cat([column, row], dim=-1).flatten(0, 1)


def patchify(x: Image, patch_size: int) -> Patches:
    """Return square patches, row by row; values in order channel, row, column, as in Conv2d."""
    x = x.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpatchify(patches: Patches, patch_size: int) -> Image:
    """Return the image of patches, row by row; values in the order row, column, channel."""
    side, p = math.isqrt(patches.shape[1]), patch_size
    x = patches.unflatten(2, (p, p, -1)).unflatten(1, (side, side))
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
