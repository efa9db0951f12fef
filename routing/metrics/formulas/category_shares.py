"""Shares of categories among samples, and their distances from reference shares.

For the labels of n samples (sample i counts w_i times) and reference shares q without error:

    n_c = sum_i w_i [label_i = c] ,   p_c = n_c / n
    total variation  TV = 1/2 sum_c |p_c - q_c|              in [0, 1]
    Kullback-Leibler KL = sum_c p_c log(p_c / q_c)           in nats, KL(p || q)
    chi-square        X = sum_c (n_c - n q_c)^2 / (n q_c)    C - 1 degrees of freedom
    min share ratio   S = min over q_c > 0 of p_c / q_c      in [0, 1]; 1: p = q
    effective number  N = exp(-sum_c p_c log p_c)            in [1, C]
    effective ratio   E = N(p) / N(q)                        > 1 if p is more uniform than q

S is the ratio of the category that is most under-represented. It is 0 if a category has no
samples, even where TV is small. It never exceeds 1, since
1 >= sum over q_c > 0 of q_c (p_c / q_c) >= S. E = 1 does not mean p = q: p may be a permutation
of q.

Finite samples: nothing is smoothed. A category without samples adds nothing to KL (0 log 0 = 0).
KL is infinite if a sample falls in a category with q_c = 0. TV and KL exceed their limits, KL by
about (C - 1) / 2n if p = q; S and log N fall short of theirs, log N by about (C - 1) / 2n. So
compare at equal n.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.metrics.formulas.input_checks import sample_counts


def category_counts(
    labels: Int[Tensor, " samples"],
    num_categories: int,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, "replicates categories"]:
    """Return n_c of every replicate, float64.

    Raises ValueError on a label outside 0..num_categories - 1, and as sample_counts.
    """
    w = sample_counts(weights, at_least=1)
    outside = (labels < 0) | (labels >= num_categories)
    if outside.any():
        raise ValueError(
            f"labels: wanted 0..{num_categories - 1}, got {labels[outside][0].item()}; "
            "raise num_categories or relabel"
        )
    return w.new_zeros(len(w), num_categories).index_add_(1, labels.long(), w)


def category_shares(
    labels: Int[Tensor, " samples"],
    num_categories: int,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, "replicates categories"]:
    """Return p_c of every replicate, float64; rows sum to 1. Raises as category_counts."""
    n = category_counts(labels, num_categories, weights)
    return n / n.sum(dim=1, keepdim=True)


def total_variation(
    p: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """Return TV of every row of `p` from `q`. Raises ValueError unless `q` are shares."""
    return (p - _reference(q, p)).abs().sum(dim=1) / 2


def kl_divergence(
    p: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """Return KL of every row of `p` from `q`, in nats; inf where p_c > 0 and q_c = 0.

    Raises ValueError unless `q` are shares.
    """
    ratio = p / _reference(q, p)
    return torch.where(p > 0, p * ratio.log(), 0.0).sum(dim=1)


def chi_square_p_value(
    n: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """Return the p-value of the chi-square test that the counts `n` are drawn from `q`.

    A category with q_c = 0 has no degree of freedom; a sample in it makes the p-value 0. The
    approximation needs expected counts of about 5 or more. Raises ValueError unless `q` are shares
    with at least two categories above 0.
    """
    q = _reference(q, n)
    freedom = int((q > 0).sum()) - 1
    if freedom < 1:
        raise ValueError(
            "reference shares: wanted at least 2 categories above 0, got 1; give more categories"
        )
    expected = n.sum(dim=1, keepdim=True) * q
    x = torch.where(n == expected, 0.0, (n - expected).square() / expected).sum(dim=1)
    return torch.special.gammaincc(torch.full_like(x, freedom / 2), x / 2)


def min_share_ratio(
    p: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """Return S of every row of `p`; categories with q_c = 0 are ignored.

    Raises ValueError unless `q` are shares.
    """
    q = _reference(q, p)
    return (p[:, q > 0] / q[q > 0]).amin(dim=1)


def effective_number(
    p: Float[Tensor, "replicates categories"],
) -> Float[Tensor, " replicates"]:
    """Return N of every row of `p`: N equal shares have the same entropy (Hill 1973, order 1)."""
    return torch.special.entr(p).sum(dim=1).exp()


def effective_ratio(
    p: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """Return E of every row of `p`. Raises ValueError unless `q` are shares."""
    return effective_number(p) / effective_number(_reference(q, p)[None])


def _reference(q: Tensor, p: Tensor) -> Tensor:
    q = q.double()
    if len(q) != p.shape[1]:
        raise ValueError(
            f"reference shares: wanted {p.shape[1]} categories as the samples have, got {len(q)}; "
            "label both with the same list"
        )
    if not ((q >= 0).all() and abs(q.sum() - 1) < 1e-6):  # the accuracy of float32 shares
        raise ValueError(
            f"reference shares: wanted numbers >= 0 with sum 1, got sum {q.sum().item():g}; "
            "divide counts by their sum"
        )
    return q
