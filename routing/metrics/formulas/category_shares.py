"""Shares of categories among samples, and how far they are from reference shares.

Of the labels of n samples (sample i counting w_i times), with q the reference shares, taken as
known exactly:

    n_c = sum_i w_i [label_i = c] ,   p_c = n_c / n
    total variation  TV = 1/2 sum_c |p_c - q_c|              in [0, 1]
    Kullback-Leibler KL = sum_c p_c log(p_c / q_c)           in nats, from the samples' side
    chi-square        X = sum_c (n_c - n q_c)^2 / (n q_c)    C - 1 degrees of freedom
    worst served      S = min over q_c > 0 of p_c / q_c      in [0, 1]; 1: p = q
    effective number  N = exp(-sum_c p_c log p_c)            in [1, C]
    effective ratio   E = N(p) / N(q)                        above 1 if p is the more even

S is how much of its share the category gets that gets least of it: what experts that starve a
cluster lower first (it is 0 if one gets nothing, and TV may then still be small). It never
exceeds 1, since 1 >= sum over q_c > 0 of q_c (p_c / q_c) >= S, without clipping. E = 1 does not
mean p = q: shares may have changed places.

Finite samples: all are those of the observed shares. A category no sample fell in adds
nothing to KL (0 log 0 = 0); one that q excludes and a sample fell in makes KL infinite; nothing
is smoothed. TV and KL exceed their limits, KL by about (C - 1) / 2n when p = q; S falls short of
it, and log N by about (C - 1) / 2n: compare at equal n.
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
    """n_c of every replicate; float64. ValueError on a label outside 0..num_categories - 1."""
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
    """p_c of every replicate; float64, rows sum to 1. ValueErrors as counts."""
    n = category_counts(labels, num_categories, weights)
    return n / n.sum(dim=1, keepdim=True)


def total_variation(
    p: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """TV of every row of `p` from the reference shares `q`. ValueError if `q` are no shares."""
    return (p - _reference(q, p)).abs().sum(dim=1) / 2


def kl_divergence(
    p: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """KL of every row of `p` from `q`, in nats; inf where `q` excludes what `p` has.

    ValueError if `q` are no shares.
    """
    ratio = p / _reference(q, p)
    return torch.where(p > 0, p * ratio.log(), 0.0).sum(dim=1)


def chi_square_p_value(
    n: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """Probability of an X this large, if the counts `n` were drawn independently from `q`.

    Categories of share 0 have no degree of freedom; a sample in one makes the probability 0.
    The limit law asks for expected counts of about 5 and more. ValueError if `q` are no shares,
    or all on one category.
    """
    q = _reference(q, n)
    freedom = int((q > 0).sum()) - 1
    if freedom < 1:
        raise ValueError(
            "reference shares: wanted at least 2 categories above 0, got 1; nothing is to test"
        )
    expected = n.sum(dim=1, keepdim=True) * q
    x = torch.where(n == expected, 0.0, (n - expected).square() / expected).sum(dim=1)
    return torch.special.gammaincc(torch.full_like(x, freedom / 2), x / 2)


def min_share_ratio(
    p: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """S of every row of `p`; a category of share 0 in `q` is owed nothing.

    ValueError if `q` are no shares.
    """
    q = _reference(q, p)
    return (p[:, q > 0] / q[q > 0]).amin(dim=1)


def effective_number(
    p: Float[Tensor, "replicates categories"],
) -> Float[Tensor, " replicates"]:
    """N of every row of `p`: as many equal shares have the same entropy (Hill 1973, order 1)."""
    return torch.special.entr(p).sum(dim=1).exp()


def effective_ratio(
    p: Float[Tensor, "replicates categories"], q: Float[Tensor, " reference"]
) -> Float[Tensor, " replicates"]:
    """E of every row of `p`. ValueError if `q` are no shares."""
    return effective_number(p) / effective_number(_reference(q, p)[None])


def _reference(q: Tensor, p: Tensor) -> Tensor:
    q = q.double()
    if len(q) != p.shape[1]:
        raise ValueError(
            f"reference shares: wanted {p.shape[1]} categories as the samples have, got {len(q)}; "
            "label both with one list"
        )
    if not ((q >= 0).all() and abs(q.sum() - 1) < 1e-6):  # float32 shares sum to 1 this well
        raise ValueError(
            f"reference shares: wanted numbers >= 0 with sum 1, got sum {q.sum().item():g}; "
            "divide counts by their sum"
        )
    return q
