"""Euclidean distances of pairs, from differences, at the price of a matrix product.

The distance of this package is  d = |x - y|  computed from differences: equal points are at
distance 0, d(x, y) = d(y, x), and no distance depends on the block it is computed in, so ties
stay ties, bit for bit. The form  |x|^2 + |y|^2 - 2 x . y  has none of that but is one matrix
product. It is used for what it can decide: with x and y centred, u = 2^-52 and

    e = 2 (dim + 8) u (|x|^2 + |y|^2)

the square of d (rounded as it is) lies between `low` and `high`, the product less and plus e, and
a comparison of d with a radius is computed from differences only where the square of the radius
lies between them too. Results are those of the differences, whatever computed them.

e by the usual count (Higham 2002, section 3.1; any order of the sums, with or without fused
operations): the product is within (dim + 4) u (|x|^2 + |y|^2), the square of d within (dim + 3)
of the same, centring within 2, the square of the radius within 4; the rest is reserve. Squares
must not overflow: no coordinate beyond 1e150.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

WIDTH = 1024  # columns of a tile: with 512 rows, what a processor has near
GATHERED = 2**22  # numbers that are copied at a time to subtract pair by pair


def distances(
    x: Float[Tensor, "*batch a dim"], y: Float[Tensor, "*batch b dim"]
) -> Float[Tensor, "*batch a b"]:
    """|x - y| of every pair, from differences."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


@dataclass(frozen=True)
class Tile:
    """Some x against some y: bounds of all squared distances, distances where they are asked."""

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
        """Any centre will do; the nearer to the points, the closer the bounds."""
        x, y = x.double(), y.double()
        cx, cy = x - centre, y - centre
        xx, yy = cx.square().sum(dim=1, keepdim=True), cy.square().sum(dim=1)
        # No relative bound holds for squares that underflow: hence `tiny`.
        e = 2 * (x.shape[1] + 8) * torch.finfo(x.dtype).eps
        ex, ey = e * xx + torch.finfo(x.dtype).tiny, e * yy
        low = torch.addmm(yy - ey, cx, cy.T, alpha=-2).add_(xx - ex)
        return cls(x, y, low, (2 * ex, 2 * ey))

    @cached_property
    def high(self) -> Float[Tensor, "a b"]:
        """What no squared distance is above."""
        return (self.low + self.slack[0]).add_(self.slack[1])

    def certainly_within(self, radius: Float[Tensor, "..."]) -> Bool[Tensor, "a b"]:
        """Pairs that the bounds show to be within `radius`, which broadcasts against them."""
        return self.high <= _square(radius)

    def possibly_within(self, radius: Float[Tensor, "..."]) -> Bool[Tensor, "a b"]:
        """Pairs that the bounds do not show to be further apart than `radius`."""
        return self.low <= _square(radius)

    def within(self, radius: Float[Tensor, "..."]) -> Bool[Tensor, "a b"]:
        """d <= radius. A negative radius holds nothing."""
        inside = self.certainly_within(radius)
        i, j = (self.possibly_within(radius) & ~inside).nonzero(as_tuple=True)
        inside[i, j] = self.distances(i, j) <= radius.expand(inside.shape)[i, j]
        return inside

    def distances(
        self, i: Int[Tensor, " pairs"], j: Int[Tensor, " pairs"]
    ) -> Float[Tensor, " pairs"]:
        """d of x_i and y_j, pair by pair."""
        if 8 * len(i) > self.low.numel():  # then all of them are faster than so many apart
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
    """All pairs: rows of x, `block` at a time, against columns of y, in order.

    The first tiles of some rows are narrow: what looks for near points knows nothing yet.
    """
    # By blocks: a mean in another precision than that of y makes a copy of it all.
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
    """Distances to the `num` nearest y of every x, ascending, and which they are; float64.

    Of equals the lower index comes first. y of index own[i] is not looked at for x_i: no point is
    its own neighbour. `num` of y must be left (distances are inf otherwise).
    """
    d = torch.full((len(x), num), torch.inf, dtype=torch.float64, device=x.device)
    index = torch.full_like(d, -1, dtype=torch.long)
    for rows, cols, tile in tiles(x, y, block):
        if own is not None:
            place = own[rows] - cols.start
            (here,) = ((place >= 0) & (place < cols.stop - cols.start)).nonzero(as_tuple=True)
            tile.low[here, place[here]] = torch.inf
        nearer = tile.possibly_within(d[rows, -1:]) & (tile.low < torch.inf)
        i, j = nearer.nonzero(as_tuple=True)
        # Row by row: the found before the new, which are of higher index; a stable sort.
        place = num + torch.arange(len(i), device=x.device) - _first(i, len(nearer))[i]
        width = int(place.max()) + 1 if len(i) else num
        candidates = d.new_full((len(nearer), width), torch.inf)
        which = index.new_full(candidates.shape, -1)
        candidates[:, :num], which[:, :num] = d[rows], index[rows]
        candidates[i, place], which[i, place] = tile.distances(i, j), j + cols.start
        order = candidates.argsort(dim=1, stable=True)[:, :num]
        d[rows], index[rows] = candidates.gather(1, order), which.gather(1, order)
    return d, index


def _first(i: Tensor, num: int) -> Tensor:
    """Where each of 0..num - 1 begins in the ascending `i`."""
    return torch.searchsorted(i, torch.arange(num, device=i.device))


def _square(radius: Tensor) -> Tensor:
    """-inf stays below everything."""
    return radius * radius.abs()
