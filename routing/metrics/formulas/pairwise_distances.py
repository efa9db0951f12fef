"""Euclidean distances of pairs: as accurate as from differences, as fast as a matrix product.

In this package  d = |x - y|  is computed from differences: equal points have distance 0,
d(x, y) = d(y, x), and no distance depends on its block, so ties stay ties, bit for bit. The form
|x|^2 + |y|^2 - 2 x . y  has none of these properties, but it is a matrix product. It is used where
its accuracy is sufficient: with x and y centred, u = 2^-52 and

    e = 2 (dim + 8) u (|x|^2 + |y|^2)

the square of the rounded d lies between `low` and `high`, the product minus and plus e. Only where
the square of a radius lies between them too is the comparison of d with the radius computed from
differences. So all results equal those from differences.

e follows from the usual rounding analysis (Higham 2002, section 3.1; any order of summation, with
or without fused operations): in units of u (|x|^2 + |y|^2), the error of the product is at most
dim + 4, that of the square of d dim + 3, of centring 2, of the square of the radius 4; the rest is
a margin. Squares must not overflow: no coordinate may exceed 1e150.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

WIDTH = 1024  # columns of a tile: with 512 rows, it fits in the cache of a processor
GATHERED = 2**22  # numbers that are copied at a time for differences of single pairs


def distances(
    x: Float[Tensor, "*batch a dim"], y: Float[Tensor, "*batch b dim"]
) -> Float[Tensor, "*batch a b"]:
    """Return |x - y| of every pair, from differences."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class Tile:
    """Bounds of all squared distances between some x and some y; single distances on request."""

    x: Float[Tensor, "a dim"]
    y: Float[Tensor, "b dim"]
    low: Float[Tensor, "a b"]
    slack: tuple[Float[Tensor, "a 1"], Float[Tensor, " b"]]  # high - low, as a sum of the two

    @classmethod
    def of(
        cls,
        x: Float[Tensor, "a dim"],
        y: Float[Tensor, "b dim"],
        centre: Float[Tensor, " dim"],
    ) -> "Tile":
        """Compute the bounds. Any centre is correct; one near the points gives tighter bounds."""
        x, y = x.double(), y.double()
        cx, cy = x - centre, y - centre
        xx, yy = cx.square().sum(dim=1, keepdim=True), cy.square().sum(dim=1)
        # A relative bound does not hold for squares that underflow: hence `tiny`.
        e = 2 * (x.shape[1] + 8) * torch.finfo(x.dtype).eps
        ex, ey = e * xx + torch.finfo(x.dtype).tiny, e * yy
        low = torch.addmm(yy - ey, cx, cy.T, alpha=-2).add_(xx - ex)
        return cls(x, y, low, (2 * ex, 2 * ey))

    @cached_property
    def high(self) -> Float[Tensor, "a b"]:
        """Upper bounds of the squared distances."""
        return (self.low + self.slack[0]).add_(self.slack[1])

    def certainly_within(self, radius: Float[Tensor, "..."]) -> Bool[Tensor, "a b"]:
        """Return which pairs are within `radius` by the bounds alone; `radius` is broadcast."""
        return self.high <= _square(radius)

    def possibly_within(self, radius: Float[Tensor, "..."]) -> Bool[Tensor, "a b"]:
        """Return which pairs the bounds do not show to be farther apart than `radius`."""
        return self.low <= _square(radius)

    def within(self, radius: Float[Tensor, "..."]) -> Bool[Tensor, "a b"]:
        """Return d <= radius of all pairs. No pair is within a negative radius."""
        inside = self.certainly_within(radius)
        i, j = (self.possibly_within(radius) & ~inside).nonzero(as_tuple=True)
        inside[i, j] = self.distances(i, j) <= radius.expand(inside.shape)[i, j]
        return inside

    def distances(
        self, i: Int[Tensor, " pairs"], j: Int[Tensor, " pairs"]
    ) -> Float[Tensor, " pairs"]:
        """Return d of the pairs x_i, y_j."""
        if 8 * len(i) > self.low.numel():  # all pairs at once are faster
            return distances(self.x, self.y)[i, j]
        d = self.low.new_empty(len(i))
        step = max(1, GATHERED // self.x.shape[1])
        for start in range(0, len(i), step):
            some = slice(start, start + step)
            d[some] = distances(self.x[i[some], None], self.y[j[some], None])[:, 0, 0]
        return d


def tiles(
    x: Float[Tensor, "a dim"], y: Float[Tensor, "b dim"], block: int
) -> Iterator[tuple[slice, slice, Tile]]:
    """Iterate over tiles of all pairs: `block` rows of x at a time, with columns of y in order.

    The first tiles of each block of rows are narrow: a search for near points has no bound yet.
    """
    # By blocks: a mean in another precision than that of y would copy all of y.
    centre = sum(some.double().sum(dim=0) for some in y.split(block)) / len(y)
    for start in range(0, len(x), block):
        rows, left = slice(start, start + block), 0
        while left < len(y):
            cols = slice(left, min(left + min(WIDTH, max(64, left)), len(y)))
            yield rows, cols, Tile.of(x[rows], y[cols], centre)
            left = cols.stop


def nearest(
    x: Float[Tensor, "a dim"],
    y: Float[Tensor, "b dim"],
    num: int,
    block: int,
    own: Int[Tensor, " a"] | None = None,
) -> tuple[Float[Tensor, "a num"], Int[Tensor, "a num"]]:
    """Return the distances to the `num` nearest y of every x, ascending, and their indices.

    Float64. Of equal distances the lower index comes first. Index own[i] is skipped for x_i: no
    point is its own neighbour. If fewer than `num` points are left, distances are inf.
    """
    d = torch.full((len(x), num), torch.inf, dtype=torch.float64, device=x.device)
    index = torch.full_like(d, -1, dtype=torch.long)
    for rows, cols, tile in tiles(x, y, block):
        if own is not None:
            column = own[rows] - cols.start
            (here,) = ((column >= 0) & (column < cols.stop - cols.start)).nonzero(as_tuple=True)
            tile.low[here, column[here]] = torch.inf
        nearer = tile.possibly_within(d[rows, -1:]) & (tile.low < torch.inf)
        i, j = nearer.nonzero(as_tuple=True)
        # In each row the known neighbours come before the new ones, which have higher indices.
        position = num + torch.arange(len(i), device=x.device) - _first(i, len(nearer))[i]
        width = int(position.max()) + 1 if len(i) else num
        candidates = d.new_full((len(nearer), width), torch.inf)
        which = index.new_full(candidates.shape, -1)
        candidates[:, :num], which[:, :num] = d[rows], index[rows]
        candidates[i, position], which[i, position] = tile.distances(i, j), j + cols.start
        order = candidates.argsort(dim=1, stable=True)[:, :num]
        d[rows], index[rows] = candidates.gather(1, order), which.gather(1, order)
    return d, index


def _first(i: Tensor, num: int) -> Tensor:
    """Return where each of 0..num - 1 begins in the ascending `i`."""
    return torch.searchsorted(i, torch.arange(num, device=i.device))


def _square(radius: Tensor) -> Tensor:
    """Return the square with the sign of the radius, so that -inf stays below everything."""
    return radius * radius.abs()
