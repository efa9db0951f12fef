"""Precision, recall, density, coverage: fidelity and diversity from nearest neighbours.

The support of a distribution is estimated by the union of balls around a set of points. The radius
of a ball is the distance of its centre to the k-th nearest other point of the set. With r_j the
radius of reference point y_j (m of them) and s_i that of sample x_i (n of them),

    precision = mean_i  [ |x_i - y_j| <= r_j  for some j ]           k = k_precision
    recall    = mean_j  [ |x_i - y_j| <= s_i  for some i ]           k = k_precision
    density   = mean_i  #{ j : |x_i - y_j| <= r_j } / k              k = k_density
    coverage  = mean_j  [ |x_i - y_j| <= r_j  for some i ]           k = k_density

A replicate leaves out the samples of weight 0, from the balls and from the means. A weight above
one counts in the means over samples only: a copy of a point is not a neighbour of it.

Recall and coverage are means over the reference points. So they can be computed for any group of
these (a cluster, for example): the fraction of the group that is recalled or covered by all
samples.

Source: precision and recall Kynkaanniemi et al. 2019, arXiv:1904.06991 (k = 3); density and
coverage Naeem et al. 2020, arXiv:2002.09797 (k = 5; their `<` is `<=` here, which differs only at
ties). Density may exceed 1. Recall grows with n: compare at equal n only.

Cost: the matrix products of pairwise_distances.py, n (n + m) dim in double precision, once for all
replicates; and 2 n m in single precision per replicate, so that R replicates add a fraction of
about R / dim. A bootstrap needs more neighbours than a jackknife, since it leaves out more points.
Memory: the samples in float64, the reference in its stored precision, a few MB per tile, and two
booleans per replicate and reference point.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.metrics.formulas.input_checks import reference_features, weighted_samples
from routing.metrics.formulas.pairwise_distances import nearest, tiles


@dataclass(frozen=True)
class NeighbourReference:
    """The reference points in their stored precision, and their radii for the two k, float64."""

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
        """Raise ValueError on k < 1, on no more rows than neighbours, or rows not finite."""
        if min(k_precision, k_density) < 1:
            raise ValueError(
                "k_precision, k_density: wanted at least 1 neighbour, "
                f"got {k_precision} and {k_density}; the literature has 3 and 5"
            )
        reference_features(reference, at_least=max(k_precision, k_density) + 1)
        everyone = torch.ones(1, len(reference), dtype=torch.bool, device=reference.device)
        radii = ball_radii(reference, everyone, (k_precision, k_density), block)[:, 0]
        return cls(reference, *radii, k_precision, k_density)


@dataclass(frozen=True)
class BallMembership:
    """Which points are in which balls: what the metrics are means of."""

    is_precise: Bool[Tensor, " samples"]  # in some ball around a reference point
    num_balls: Float[Tensor, " samples"]  # around reference points, that contain the sample
    is_recalled: Bool[Tensor, "replicates reference"]  # in some ball around a sample
    is_covered: Bool[Tensor, "replicates reference"]  # its ball contains a sample
    weights: Float[Tensor, "replicates samples"]
    k_density: int

    def metrics(self) -> dict[str, Float[Tensor, " replicates"]]:
        """Return the four metrics of every replicate, by name, float64, as fractions."""
        w, n = self.weights, self.weights.sum(dim=1)
        return {
            "precision": w @ self.is_precise.double() / n,
            "recall": self.is_recalled.double().mean(dim=1),
            "density": w @ self.num_balls / (n * self.k_density),
            "coverage": self.is_covered.double().mean(dim=1),
        }

    def by_group(
        self, groups: Int[Tensor, " reference"], num_groups: int
    ) -> dict[str, Float[Tensor, "replicates groups"]]:
        """Return recall and coverage of every group of reference points, float64.

        Their means, weighted by the sizes of the groups, are recall and coverage. Raises
        ValueError on a group outside 0..num_groups - 1, or one without points.
        """
        outside = (groups < 0) | (groups >= num_groups)
        if outside.any():
            raise ValueError(
                f"groups: wanted 0..{num_groups - 1}, got {groups[outside][0].item()}; "
                "raise num_groups or relabel"
            )
        one_hot = torch.nn.functional.one_hot(groups.long(), num_groups).double()
        sizes = one_hot.sum(dim=0)
        if (sizes == 0).any():
            raise ValueError(
                f"groups: wanted reference points in all {num_groups} groups, got none in "
                f"{int((sizes == 0).nonzero()[0])}; leave empty groups out"
            )
        return {
            "recall": self.is_recalled.double() @ one_hot / sizes,
            "coverage": self.is_covered.double() @ one_hot / sizes,
        }


def neighbour_metrics(
    samples: Float[Tensor, "samples dim"],
    reference: NeighbourReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> dict[str, Float[Tensor, " replicates"]]:
    """Return the four metrics of every replicate, by name. Raises as `ball_membership`."""
    return ball_membership(samples, reference, weights, block).metrics()


def ball_membership(
    samples: Float[Tensor, "samples dim"],
    reference: NeighbourReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> BallMembership:
    """Return which samples and reference points are in which balls.

    `block` samples are compared at a time; the result does not depend on it. Raises as
    weighted_samples, and ValueError on no more samples than neighbours in some replicate.
    """
    y = reference.points
    x, w = weighted_samples(samples, weights, y.shape[1], at_least=reference.k_precision + 1)
    kept = w > 0
    radius = ball_radii(x, kept, (reference.k_precision,), block)[0]
    smallest, largest = radius.masked_fill(~kept, torch.inf).amin(dim=0), radius.amax(dim=0)
    precise, balls = kept.new_zeros(len(x)), x.new_zeros(len(x))
    recalled = kept.new_zeros(len(w), len(y))
    covered = kept.new_zeros(len(w), len(y))
    for rows, cols, tile in tiles(x, y, block):
        precise[rows] |= tile.within(reference.precision_radius[cols]).any(dim=1)
        inside = tile.within(reference.density_radius[cols])
        balls[rows] += inside.sum(dim=1)
        covered[:, cols] |= _any_kept_inside(kept[:, rows], inside)
        always = tile.certainly_within(smallest[rows, None])
        recalled[:, cols] |= _any_kept_inside(kept[:, rows], always)
        # Radii differ between replicates for few samples: compare undecided pairs one by one.
        open_ = tile.possibly_within(largest[rows, None]) & ~always & ~recalled[:, cols].all(dim=0)
        i, j = open_.nonzero(as_tuple=True)
        r, pair = (tile.distances(i, j) <= radius[:, rows][:, i]).nonzero(as_tuple=True)
        recalled[r, cols.start + j[pair]] = True
    return BallMembership(precise, balls, recalled, covered, w, reference.k_density)


def ball_radii(
    x: Float[Tensor, "samples dim"],
    kept: Bool[Tensor, "replicates samples"],
    ks: tuple[int, ...],
    block: int,
) -> Float[Tensor, "ks replicates samples"]:
    """Return the distance to the k-th nearest other kept point; -inf for a point left out."""
    # The k-th kept neighbour is among the first k + (largest number left out) neighbours, and
    # mostly among the first few: more are searched only where it is not.
    enough = min(max(ks) + int((~kept).sum(dim=1).max()), len(x) - 1)
    num = min(4 * max(ks), enough)
    radius = torch.empty(len(ks), *kept.shape, dtype=torch.float64, device=x.device)
    rest = torch.arange(len(x), device=x.device)
    while len(rest):
        some = x if len(rest) == len(x) else x[rest]  # avoids a copy
        d, index = nearest(some, x, num, block, own=rest)
        for start in range(0, len(rest), block):
            rows = slice(start, start + block)
            radius[:, :, rest[rows]] = _kth_kept(d[rows], kept[:, index[rows]], ks)
        is_short = (radius[:, :, rest] == torch.inf).any(dim=(0, 1))
        rest = rest[is_short & (num < enough)]
        num = min(2 * num, enough)
    return radius.masked_fill(~kept, -torch.inf)


def _kth_kept(
    d: Float[Tensor, "rows near"], kept: Bool[Tensor, "replicates rows near"], ks: tuple[int, ...]
) -> Float[Tensor, "ks replicates rows"]:
    """Return the k-th kept one of the ascending `d`, inf where there are fewer."""
    rank = kept.cumsum(dim=2)
    padded = torch.nn.functional.pad(d, (0, 1), value=torch.inf).expand(len(kept), -1, -1)
    before = torch.stack([(rank < k).sum(dim=2) for k in ks])
    return torch.stack([padded.gather(2, b[:, :, None])[:, :, 0] for b in before])


def _any_kept_inside(
    kept: Bool[Tensor, "replicates samples"], inside: Bool[Tensor, "samples reference"]
) -> Bool[Tensor, "replicates reference"]:
    """Return whether some kept sample is inside."""
    return kept.float() @ inside.float() > 0  # float32 is exact enough: a sum of ones is > 0
