"""Energy distance of two sets: zero only for equal distributions, and nothing to choose.

    D = 2 E |x - y| - E |x - x'| - E |y - y'| ,

x of the samples, y of the reference, x' and y' others of the same set, every pair once (the
U-form, without bias: D of equal distributions scatters around zero). It is the kernel distance
of the kernel -|x - y|. Source: Szekely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018.

Distances come from matrix products where these are right to a relative 1e-10 / 2 at worst (the
bounds of distances.py; in practice to rounding), and from differences where they are not.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from routing.metrics.formulas.input_checks import reference_features, weighted_samples
from routing.metrics.formulas.kernel_distance import across_mean, within_mean
from routing.metrics.formulas.pairwise_distances import Tile

MAX_RELATIVE_WIDTH = 1e-10  # relative width of the bounds of a squared distance


def euclidean_distances(
    x: Float[Tensor, "a dim"], y: Float[Tensor, "b dim"]
) -> Float[Tensor, "a b"]:
    """|x - y| of every pair."""
    tile = Tile.of(x, y, y.mean(dim=0))
    width = tile.slack[0] + tile.slack[1]
    d = (tile.low + width / 2).sqrt_()  # nan below zero, which the next line finds
    i, j = (width > MAX_RELATIVE_WIDTH * tile.low).nonzero(as_tuple=True)
    d[i, j] = tile.distances(i, j)
    return d


@dataclass(frozen=True)
class EnergyReference:
    """The reference points and E |y - y'|, which no generator changes. Float64."""

    points: Float[Tensor, "reference dim"]
    within: Float[Tensor, ""]

    @classmethod
    def fit(cls, reference: Float[Tensor, "reference dim"], block: int = 512) -> "EnergyReference":
        """ValueError on fewer than two rows, or rows not finite."""
        y = reference_features(reference, at_least=2)
        return cls(y, within_mean(euclidean_distances, y, y.new_ones(1, len(y)), block)[0])


def energy_distance(
    samples: Float[Tensor, "samples dim"],
    reference: EnergyReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> Float[Tensor, " replicates"]:
    """D of every replicate, in units of the features; float64. ValueErrors: checks.py.

    `block` rows of a distance matrix are in memory at a time.
    """
    x, w = weighted_samples(samples, weights, dim=reference.points.shape[1], at_least=2)
    across = across_mean(euclidean_distances, x, reference.points, w, block)
    return 2 * across - within_mean(euclidean_distances, x, w, block) - reference.within
