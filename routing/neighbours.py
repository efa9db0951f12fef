"""Precision, recall, density, coverage: fidelity and diversity from nearest neighbours.

A set of points stands for a region: the union of balls around its points, each reaching to the
point's k-th nearest neighbour in the set, the point itself not counted. With r_j the radius of
reference point y_j (m of them) and s_i that of sample x_i (n of them),

    precision = mean_i  [ |x_i - y_j| <= r_j  for some j ]           k = k_precision
    recall    = mean_j  [ |x_i - y_j| <= s_i  for some i ]           k = k_precision
    density   = mean_i  #{ j : |x_i - y_j| <= r_j } / k              k = k_density
    coverage  = mean_j  [ |x_i - y_j| <= r_j  for some i ]           k = k_density

A replicate leaves out the samples of weight 0, from balls and from means; a weight above one
counts in the means over samples alone: a copy of a point is no neighbour of it.

Source: precision and recall Kynkaanniemi et al. 2019, arXiv:1904.06991 (k = 3); density and
coverage Naeem et al. 2020, arXiv:2002.09797 (k = 5; their `<` is `<=` here, which differs at
ties alone). Density may exceed 1. Recall grows with n: compare at equal n only.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from routing.checks import reference_features, weighted_samples
from routing.energy import distances


@dataclass(frozen=True)
class NeighbourReference:
    """The reference points and their radii for the two numbers of neighbours. Float64."""

    points: Float[Tensor, "reference dim"]
    precision_radius: Float[Tensor, " reference"]
    density_radius: Float[Tensor, " reference"]
    k_precision: int
    k_density: int

    @classmethod
    def fit(
        cls,
        reference: Float[Tensor, "reference dim"],
        k_precision: int = 3,
        k_density: int = 5,
        block: int = 512,
    ) -> "NeighbourReference":
        """ValueError on k < 1, on no more rows than neighbours, or rows not finite."""
        if min(k_precision, k_density) < 1:
            raise ValueError(
                "k_precision, k_density: wanted at least 1 neighbour, "
                f"got {k_precision} and {k_density}; the literature has 3 and 5"
            )
        y = reference_features(reference, at_least=max(k_precision, k_density) + 1)
        everyone = y.new_ones(1, len(y), dtype=torch.bool)
        radii = ball_radii(y, everyone, (k_precision, k_density), block)[:, 0]
        return cls(y, *radii, k_precision, k_density)


def neighbour_metrics(
    samples: Float[Tensor, "samples dim"],
    reference: NeighbourReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> dict[str, Float[Tensor, " replicates"]]:
    """The four metrics of every replicate, by name; float64, shares of one.

    `block` rows of a distance matrix are in memory at a time; the result does not depend on it.
    ValueErrors: checks.py; also on no more samples than neighbours in some replicate.
    """
    y = reference.points
    x, w = weighted_samples(samples, weights, y.shape[1], at_least=reference.k_precision + 1)
    kept = w > 0
    radius = ball_radii(x, kept, (reference.k_precision,), block)[0]
    precise, balls = x.new_empty(len(x)), x.new_empty(len(x))
    recalled = kept.new_zeros(len(w), len(y))
    covered = kept.new_zeros(len(w), len(y))
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        d = distances(x[rows], y)
        precise[rows] = (d <= reference.precision_radius).any(dim=1).double()
        inside = d <= reference.density_radius
        balls[rows] = inside.sum(dim=1).double()
        covered |= kept[:, rows].float() @ inside.float() > 0  # a sum of ones is never lost
        for r, s in enumerate(radius[:, rows]):
            recalled[r] |= (d <= s[:, None]).any(dim=0)
    n = w.sum(dim=1)
    return {
        "precision": w @ precise / n,
        "recall": recalled.double().mean(dim=1),
        "density": w @ balls / (n * reference.k_density),
        "coverage": covered.double().mean(dim=1),
    }


def ball_radii(
    x: Float[Tensor, "samples dim"],
    kept: Bool[Tensor, "replicates samples"],
    ks: tuple[int, ...],
    block: int,
) -> Float[Tensor, "ks replicates samples"]:
    """Distance to the k-th nearest other point that is kept; -inf for a point left out."""
    # Whoever is left out, the k-th kept neighbour is among the first k + (most left out).
    num_near = min(max(ks) + int((~kept).sum(dim=1).max()), len(x) - 1)
    radius = x.new_empty(len(ks), *kept.shape)
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        d = distances(x[rows], x)
        d.diagonal(offset=start).fill_(math.inf)  # no point is its own neighbour
        near, index = d.topk(num_near, largest=False, sorted=False)
        for r, kept_r in enumerate(kept):
            left = near.masked_fill(~kept_r[index], math.inf)
            for j, k in enumerate(ks):
                radius[j, r, rows] = left.kthvalue(k).values
    return radius.masked_fill(~kept, -math.inf)
