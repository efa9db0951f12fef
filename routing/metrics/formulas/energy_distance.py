"""Energy distance of two sets: zero only for equal distributions, and without parameters.

    D = 2 E |x - y| - E |x - x'| - E |y - y'| ,

with x a sample, y a reference point, x' and y' other points of the same set; each pair counts
once (U-statistic). The estimate is unbiased: D of equal distributions scatters around zero. It is
the kernel distance with the kernel -|x - y|.
Source: Szekely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.

Distances are computed with matrix products where their relative error is at most 1e-10 / 2 (by
the bounds of pairwise_distances.py; in practice it is rounding error), else from differences.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from routing.metrics.formulas.input_checks import reference_features, weighted_samples
from routing.metrics.formulas.kernel_distance import across_mean, within_mean
from routing.metrics.formulas.pairwise_distances import Tile

MAX_RELATIVE_WIDTH = 1e-10  # of the bounds of a squared distance


def euclidean_distances(
    x: Float[Tensor, "a dim"], y: Float[Tensor, "b dim"]
) -> Float[Tensor, "a b"]:
    """Return |x - y| of every pair."""
    tile = Tile.of(x, y, y.mean(dim=0))
    width = tile.slack[0] + tile.slack[1]
    d = (tile.low + width / 2).sqrt_()  # nan below zero; replaced two lines below
    i, j = (width > MAX_RELATIVE_WIDTH * tile.low).nonzero(as_tuple=True)
    d[i, j] = tile.distances(i, j)
    return d


@dataclass(frozen=True)
class EnergyReference:
    """The reference points and E |y - y'|, which does not depend on the samples. Float64."""

    points: Float[Tensor, "reference dim"]
    within: Float[Tensor, ""]

    @classmethod
    def fit(cls, reference: Float[Tensor, "reference dim"], block: int = 512) -> "EnergyReference":
        """Raise ValueError on fewer than two rows, or rows that are not finite."""
        y = reference_features(reference, at_least=2)
        return cls(y, within_mean(euclidean_distances, y, y.new_ones(1, len(y)), block)[0])


def energy_distance(
    samples: Float[Tensor, "samples dim"],
    reference: EnergyReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> Float[Tensor, " replicates"]:
    """Return D of every replicate, in units of the features, float64.

    `block` rows of a distance matrix are in memory at a time. Raises as weighted_samples.
    """
    x, w = weighted_samples(samples, weights, dim=reference.points.shape[1], at_least=2)
    across = across_mean(euclidean_distances, x, reference.points, w, block)
    return 2 * across - within_mean(euclidean_distances, x, w, block) - reference.within
