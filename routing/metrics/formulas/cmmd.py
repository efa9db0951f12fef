"""CMMD: maximum mean discrepancy of two sets of unit vectors, with a wide Gaussian kernel.

    D = 1000 (E k(x, x') + E k(y, y') - 2 E k(x, y)) ,    k(x, y) = exp(-|x - y|^2 / (2 s^2)) ,

with s = 10 and all rows scaled to length one. In CLIP features (ViT-L/14 at 336 pixels) it is the
CMMD (Jayasumana et al. 2024, arXiv:2401.09603); in others it has another name. The means within a
set are taken in one of two ways:

    cmmd            over all pairs, including a row with itself (V-statistic), as published
    cmmd_unbiased   over pairs of different rows (U-statistic); scatters around 0

With n = sum w samples and m reference points,

    cmmd - cmmd_unbiased = 1000 ((sum w^2 / n^2) (1 - E k(x, x')) + (1 / m) (1 - E k(y, y'))) ,

where E is over different rows. This bias falls with n: compare `cmmd` at equal n and m only.

Since |x - y| <= 2, k is between 0.98 and 1, and most of its digits cancel in D: float32 would keep
two or three. Hence the means are those of  k - 1 = expm1((x . y - 1) / s^2) : the ones cancel
analytically, and the kernel of a row with itself, or with its copy, adds an exact 0.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from routing.metrics.formulas.input_checks import reference_features, weighted_samples
from routing.metrics.formulas.kernel_distance import across_mean, within_mean

SIGMA = 10.0
SCALE = 1000.0


def unit_rows(x: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows dim"]:
    """Return the rows divided by their norms."""
    return x / x.norm(dim=1, keepdim=True)  # no epsilon: check_row_norms excludes zeros


def check_row_norms(name: str, x: Float[Tensor, "rows dim"]) -> None:
    """Raise ValueError unless every row of x has a positive, finite norm."""
    length = x.norm(dim=1)
    bad = int(((length == 0) | length.isinf()).sum())
    if bad:
        raise ValueError(
            f"{name}: wanted rows of a positive finite length, got zero or overflow in {bad} of "
            f"{len(x)}; features without a direction come from a broken image or extractor"
        )


def kernel_minus_one(x: Float[Tensor, "a dim"], y: Float[Tensor, "b dim"]) -> Float[Tensor, "a b"]:
    """Return k(x, y) - 1 of every pair; rows may have any norm."""
    return (unit_rows(x) @ unit_rows(y).T - 1).div_(SIGMA**2).expm1_()


@dataclass(frozen=True)
class GaussianReference:
    """The reference points in their stored precision, and E k(y, y') - 1 over different rows."""

    points: Float[Tensor, "reference dim"]
    within: Float[Tensor, ""]

    @classmethod
    def fit(
        cls, reference: Float[Tensor, "reference dim"], block: int = 512
    ) -> "GaussianReference":
        """Raise ValueError on fewer than two rows, rows that are not finite, or a row of zeros."""
        y = reference_features(reference, at_least=2)
        check_row_norms("reference", y)
        return cls(reference, within_mean(kernel_minus_one, y, y.new_ones(1, len(y)), block)[0])


def cmmd(
    samples: Float[Tensor, "samples dim"],
    reference: GaussianReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> Float[Tensor, " replicates"]:
    """Return D of every replicate over all pairs: float64, >= 0, lower is better.

    A sample of weight w counts as w equal samples. Raises ValueError as weighted_samples, and on a
    row of zeros.
    """
    return cmmd_both(samples, reference, weights, block)[0]


def cmmd_unbiased(
    samples: Float[Tensor, "samples dim"],
    reference: GaussianReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> Float[Tensor, " replicates"]:
    """Return D of every replicate over pairs of different rows: float64, lower is better.

    It may be negative. A sample is never paired with its own copy (kernel_distance.py). Raises as
    cmmd.
    """
    return cmmd_both(samples, reference, weights, block)[1]


def cmmd_both(
    samples: Float[Tensor, "samples dim"],
    reference: GaussianReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> tuple[Float[Tensor, " replicates"], Float[Tensor, " replicates"]]:
    """Return `cmmd` and `cmmd_unbiased` at the cost of one of them."""
    y = reference.points
    x, w = weighted_samples(samples, weights, dim=y.shape[1], at_least=2)
    check_row_norms("samples", x)
    within = within_mean(kernel_minus_one, x, w, block)
    across = across_mean(kernel_minus_one, x, y, w, block)
    same = w.square().sum(dim=1) / w.sum(dim=1).square()  # fraction of the pairs with k - 1 = 0
    biased = (1 - same) * within + (1 - 1 / len(y)) * reference.within - 2 * across
    return SCALE * biased, SCALE * (within + reference.within - 2 * across)
