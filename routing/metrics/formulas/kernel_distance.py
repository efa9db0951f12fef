"""Kernel distance: the unbiased squared maximum mean discrepancy (MMD) of two sets.

    D = E k(x, x') + E k(y, y') - 2 E k(x, y) ,    k(x, y) = (x . y / dim + 1)^3 ,

with x a sample, y a reference point, x' and y' other points of the same set. Every pair is used
once (the full U-statistic, without random subsets). The expectation does not depend on the number
of samples; D of equal distributions scatters around zero. In Inception features it is the KID
(Binkowski et al. 2018, arXiv:1801.01401), which is usually a mean over random subsets. A replicate
counts sample i w_i times, but never pairs it with itself:

    E k(x, x') = sum_{i != j} w_i w_j k(x_i, x_j) / sum_{i != j} w_i w_j .

So bootstrap replicates scatter around the D of the samples. With repeated rows instead, pairs of
copies would shift them to D + E k(x, x) / n.

`within_mean` and `across_mean` take any symmetric function of two points (energy_distance.py and
cmmd.py use them too). They hold one tile of `block` rows and columns at a time, in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from routing.metrics.formulas.input_checks import reference_features, weighted_samples

PairFunction = Callable[[Tensor, Tensor], Tensor]  # [a dim], [b dim] -> [a b], symmetric


def polynomial(x: Float[Tensor, "a dim"], y: Float[Tensor, "b dim"]) -> Float[Tensor, "a b"]:
    """Return k(x, y) of every pair: the cubic kernel of the KID."""
    return (x @ y.T / x.shape[1] + 1) ** 3


@dataclass(frozen=True)
class KernelReference:
    """The reference points in their stored precision, and E k(y, y')."""

    points: Float[Tensor, "reference dim"]
    within: Float[Tensor, ""]

    @classmethod
    def fit(cls, reference: Float[Tensor, "reference dim"], block: int = 512) -> "KernelReference":
        """Raise ValueError on fewer than two rows, or rows that are not finite."""
        y = reference_features(reference, at_least=2)
        return cls(reference, within_mean(polynomial, y, y.new_ones(1, len(y)), block)[0])


def kernel_distance(
    samples: Float[Tensor, "samples dim"],
    reference: KernelReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> Float[Tensor, " replicates"]:
    """Return D of every replicate, in units of k, float64. Raises as weighted_samples."""
    x, w = weighted_samples(samples, weights, dim=reference.points.shape[1], at_least=2)
    within = within_mean(polynomial, x, w, block)
    return within + reference.within - 2 * across_mean(polynomial, x, reference.points, w, block)


def within_mean(
    pair: PairFunction,
    x: Float[Tensor, "samples dim"],
    w: Float[Tensor, "replicates samples"],
    block: int,
) -> Float[Tensor, " replicates"]:
    """Return the mean of `pair` over two different points of one set, weighted by w_i w_j."""
    total = w.new_zeros(len(w))
    for i in range(0, len(x), block):
        rows = slice(i, i + block)
        x_i = x[rows].double()
        for j in range(i, len(x), block):
            columns = slice(j, j + block)
            h = pair(x_i, x[columns].double())
            if i == j:
                h.triu_(diagonal=1)  # each pair i < j once
            total += ((w[:, rows] @ h) * w[:, columns]).sum(dim=1)
    return 2 * total / (w.sum(dim=1).square() - w.square().sum(dim=1))


def across_mean(
    pair: PairFunction,
    x: Float[Tensor, "samples dim"],
    y: Float[Tensor, "reference dim"],
    w: Float[Tensor, "replicates samples"],
    block: int,
) -> Float[Tensor, " replicates"]:
    """Return the mean of `pair` over a point of x, weighted by w, and a point of y."""
    total = w.new_zeros(len(w))
    for i in range(0, len(x), block):
        rows = slice(i, i + block)
        x_i = x[rows].double()
        h = x_i.new_zeros(len(x_i))
        for j in range(0, len(y), block):
            h += pair(x_i, y[j : j + block].double()).sum(dim=1)
        total += w[:, rows] @ h
    return total / (w.sum(dim=1) * len(y))
