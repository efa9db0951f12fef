"""Vendi score: the effective number of different samples in a set, without a reference.

    score = exp(-sum_j l_j log l_j) ,    l the eigenvalues of  X X^T / n ,

with the rows of X scaled to length one, so that X X^T has the cosines of all pairs and the l_j sum
to 1. It is the effective number of directions: 1 if all samples are equal, n if all are
orthogonal, exp(entropy of the shares) for orthogonal modes, and at most min(n, dim). Higher means
more diverse, not closer to the data. It grows with n: compare at equal n only.
Source: Friedman & Dieng 2022, arXiv:2210.02410, with the cosine kernel.

A replicate counts sample i w_i times, as w_i equal rows. With n = sum w, the nonzero l_j are those
of

    X^T diag(w) X / n   [dim dim]    and of    diag(w)^(1/2) X X^T diag(w)^(1/2) / n   [rows rows].

The smaller is decomposed, once per replicate.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from routing.metrics.formulas.cmmd import check_row_norms, unit_rows
from routing.metrics.formulas.input_checks import weighted_samples


def vendi_score(
    samples: Float[Tensor, "samples dim"],
    weights: Float[Tensor, "replicates samples"],
    block: int = 4096,
) -> Float[Tensor, " replicates"]:
    """Return the score of every replicate, in [1, min(n, dim)], float64.

    `block` rows are scaled at a time; the result does not depend on it. Raises ValueError as
    weighted_samples, and on a row of zeros.
    """
    x, w = weighted_samples(samples, weights, dim=samples.shape[1], at_least=1)
    check_row_norms("samples", x)
    matrices = _by_dimension(x, w, block) if len(x) > x.shape[1] else _by_rows(x, w)
    entropy = [_entropy(g / n) for g, n in zip(matrices, w.sum(dim=1), strict=True)]
    return torch.stack(entropy).exp()


def _entropy(matrix: Float[Tensor, "side side"]) -> Float[Tensor, ""]:
    values = torch.linalg.eigvalsh(matrix).clamp_min(0)  # < 0: rounding only
    return torch.special.entr(values).sum()


def _by_rows(x: Tensor, w: Tensor) -> Iterator[Tensor]:
    u = unit_rows(x)
    cosines = u @ u.T
    return (torch.outer(root, root) * cosines for root in w.sqrt())


def _by_dimension(x: Tensor, w: Tensor, block: int) -> Iterator[Tensor]:
    # Only rows with another weight than in replicate 0 are multiplied again, as in
    # frechet_distance.py: a whole jackknife costs one more Gram matrix.
    base = _gram(x, w[0], block)
    return (base + _gram(x, row - w[0], block) for row in w)


def _gram(x: Tensor, c: Tensor, block: int) -> Tensor:
    """Return X^T diag(c) X , from the rows where c is not 0."""
    gram = x.new_zeros(x.shape[1], x.shape[1])
    for rows in c.nonzero()[:, 0].split(block):
        u = unit_rows(x[rows])
        gram += u.T @ (c[rows, None] * u)
    return gram
