"""Embeddings phi of images whose squared Euclidean distances are LPIPS distances.

    phi[l] = f_hat[l] sqrt(w[l]) / sqrt(H_l W_l),    f_hat[l] = f[l] / (|f[l]| + 1e-10)

with f[l] the activations of layer l, norms over channels, and w[l] >= 0 the linear head
(Zhang et al. 2018, arXiv:1801.03924).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-10  # as in the package lpips

Embedded = Float[Tensor, "images dim"]


def embedding(
    layers: Sequence[Float[Tensor, "images _ _ _"]], heads: Sequence[Float[Tensor, " _"]]
) -> Embedded:
    """Return phi from activations [images, channels, height, width] and heads of all layers."""
    parts = []
    for f, w in zip(layers, heads, strict=True):
        f_hat = f / (f.square().sum(1, keepdim=True).sqrt() + EPSILON)
        num_pixels = f.shape[2] * f.shape[3]
        parts.append((f_hat * (w / num_pixels).sqrt()[:, None, None]).flatten(1))
    return torch.cat(parts, 1)
