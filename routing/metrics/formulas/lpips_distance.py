"""LPIPS, the perceptual distance of two images, as the squared distance of two vectors.

With f[l] the activations of layer l of a network, f_hat[l] = f[l] / (|f[l]| + 1e-10) (norms over
channels, pixel by pixel) and w[l] >= 0 the weight of each channel (the linear head),

    LPIPS(a, b) = sum_l mean_pixels sum_c w[l, c] (f_hat_a[l, c] - f_hat_b[l, c])^2
                = |phi(a) - phi(b)|^2 ,    phi[l] = f_hat[l] sqrt(w[l]) / sqrt(H_l W_l) ,

where phi concatenates all layers. So n images need n passes for all n (n - 1) / 2 distances, and
sums over pairs follow from sums over images: with n_b images in block b, s_b the sum of their phi
and q_b that of |phi|^2,

    between blocks b, c    sum_ij d_ij    = n_c q_b + n_b q_c - 2 s_b . s_c    of n_b n_c pairs
    within block b         sum_i<j d_ij   = n_b q_b - |s_b|^2                  of n_b (n_b - 1) / 2

and so does `diversity`, the mean over all pairs, with any blocks left out. Sums are float64, one
image at a time, so that no value depends on the batches. Distances are >= 0; equal images have
distance 0, and a higher diversity means more different images.
Source: Zhang et al. 2018, arXiv:1801.03924, in version 0.1 of the package lpips. The networks are
in routing.pretrained.lpips_networks.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.networks.lpips_embedding import Embedded
from routing.statistics.errors import TooFewSamples


def paired_distances(
    a: Float[Tensor, "images dim"], b: Float[Tensor, "b_images b_dim"]
) -> Float[Tensor, " images"]:
    """Return d of row i of `a` and row i of `b`, float64; exactly 0 for equal rows.

    Raises ValueError if the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"lpips: wanted two sets of one size, got {list(a.shape)} and {list(b.shape)}; pair "
            f"images of the same seeds and sizes"
        )
    found = [(x.double() - y.double()).square().sum() for x, y in zip(a, b, strict=True)]
    return torch.stack(found) if found else a.new_zeros(0, dtype=torch.float64)


def pairwise_distances(phi: Embedded) -> Float[Tensor, "images images"]:
    """Return d of all pairs, float64, from a Gram matrix; exactly 0 on the diagonal."""
    gram = phi.double() @ phi.double().T
    square = gram.diagonal()
    return (square[:, None] + square - 2 * gram).clamp_min(0)


def mean_distance(phi: Embedded) -> Float[Tensor, ""]:
    """Return the mean d of different rows:  2 n / (n - 1) (mean |phi|^2 - |mean phi|^2).

    Raises ValueError on fewer than two rows.
    """
    sums = BlockSums.zeros(1, phi.shape[1]).add(phi, torch.zeros(len(phi), dtype=torch.int64))
    return diversity(*sums.pair_sums(), torch.ones(1, 1))[0]


@dataclass(frozen=True)
class BlockSums:
    """n_b, s_b and q_b of the images added so far, float64."""

    num: Float[Tensor, " blocks"]
    total: Float[Tensor, "blocks dim"]
    square: Float[Tensor, " blocks"]

    @classmethod
    def zeros(cls, num_blocks: int, dim: int) -> "BlockSums":
        """Return the sums of no images."""
        kind = {"dtype": torch.float64}
        return cls(
            torch.zeros(num_blocks, **kind),
            torch.zeros(num_blocks, dim, **kind),
            torch.zeros(num_blocks, **kind),
        )

    def add(self, phi: Embedded, blocks: Int[Tensor, " images"]) -> "BlockSums":
        """Add images to their blocks, in place, and return the same object."""
        for row, b in zip(phi, blocks.tolist(), strict=True):
            self.num[b] += 1
            self.total[b] += row
            self.square[b] += row.double().square().sum()
        return self

    def pair_sums(self) -> tuple[Float[Tensor, "blocks blocks"], Float[Tensor, "blocks blocks"]]:
        """Return the sum of d over the pairs of each two blocks, and the number of pairs.

        Both are symmetric; the diagonal has every pair of different images once.
        """
        n, q = self.num, self.square
        cross = self.total @ self.total.T
        total = n * q[:, None] + n[:, None] * q - 2 * cross
        num_pairs = n[:, None] * n
        own = torch.eye(len(n), dtype=torch.bool)
        # Their diagonals count every pair twice, and n_b pairs of an image with itself.
        total = torch.where(own, total / 2, total).clamp_min(0)
        return total, torch.where(own, (num_pairs - n[:, None]) / 2, num_pairs)


def diversity(
    total: Float[Tensor, "blocks blocks"],
    num_pairs: Float[Tensor, "blocks blocks"],
    kept: Float[Tensor, "replicates blocks"],
) -> Float[Tensor, " replicates"]:
    """Return the mean of d over the pairs of the kept blocks (1: kept, 0: left out), float64.

    `total` and `num_pairs` are those of `BlockSums.pair_sums`, of which only b <= c is read, or
    their sums over groups of images: then every pair within a group has the same weight, and pairs
    of different groups are ignored. Raises ValueError on other weights than 0 and 1, and on a
    replicate without pairs.
    """
    k = kept.double()
    if not ((k == 0) | (k == 1)).all():
        raise ValueError(
            "lpips: wanted blocks that are kept (1) or left out (0), got other weights; a block "
            "that counts twice would have distances to itself"
        )
    once = torch.triu(torch.ones_like(total, dtype=torch.float64))
    found, num = (
        torch.einsum("rb,bc,rc->r", k, once * table.double(), k) for table in (total, num_pairs)
    )
    if not (num > 0).all():
        raise TooFewSamples(
            "lpips: wanted at least one pair of images in every replicate, got none; draw more "
            "samples of each group or compare all with all"
        )
    return found / num
