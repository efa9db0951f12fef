"""Whatever is computed by the product is what differences give, bit for bit."""

import pytest
import torch

from routing.metrics.formulas.pairwise_distances import Tile, distances, nearest, tiles

EPS = torch.finfo(torch.float64).eps


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


SETS = {  # two sets that are hard in some way
    "plain": lambda rng: (normal(rng, 70, 6), normal(rng, 150, 6)),
    "wide": lambda rng: (normal(rng, 40, 300) + 1, normal(rng, 130, 300)),
    "far from the origin": lambda rng: (normal(rng, 70, 6) + 1e7, normal(rng, 150, 6) + 1e7),
    "of two scales": lambda rng: (1e9 * normal(rng, 70, 6), normal(rng, 150, 6)),
    "far apart": lambda rng: (normal(rng, 70, 6) + 1e9, normal(rng, 150, 6)),
    "a grid": lambda rng: tuple(torch.randint(0, 3, (n, 3), generator=rng) / 3 for n in (70, 150)),
    "copies": lambda rng: (normal(rng, 1, 6).repeat(70, 1), normal(rng, 3, 6).repeat(50, 1)),
    "squares that underflow": lambda rng: (
        1e-161 * normal(rng, 70, 6),
        1e-161 * normal(rng, 90, 6),
    ),
    "squares that nearly overflow": lambda rng: (
        1e149 * normal(rng, 70, 6),
        1e149 * normal(rng, 90, 6),
    ),
}
every_set = pytest.mark.parametrize("sets", SETS.values(), ids=SETS.keys())


def tile_of(x, y):
    return Tile.of(x, y, y.double().mean(dim=0))


@every_set
def test_a_comparison_is_that_of_the_differences(sets, rng):
    """Radii are distances themselves, or the next number below or above one: ties everywhere."""
    x, y = sets(rng)
    d = distances(x.double(), y.double())
    tile = tile_of(x, y)
    for of_row in (False, True):
        some = d[torch.arange(len(x)), torch.randint(len(y), (len(x),), generator=rng)][:, None]
        if not of_row:
            some = d[torch.randint(len(x), (len(y),), generator=rng), torch.arange(len(y))]
        infinite = torch.full_like(some, torch.inf)
        for radius in (
            some,
            some.nextafter(infinite),
            some.nextafter(-infinite),
            infinite,
            -infinite,
            torch.zeros_like(some),
        ):
            assert torch.equal(tile.within(radius), d <= radius)
            assert not (tile.certainly_within(radius) & (d > radius)).any()
            assert not (~tile.possibly_within(radius) & (d <= radius)).any()


@pytest.mark.parametrize("name", ["plain", "wide", "far from the origin", "of two scales"])
def test_the_bounds_hold_and_are_narrow(name, rng):
    x, y = SETS[name](rng)
    tile, d2 = tile_of(x, y), distances(x, y).square()
    assert (tile.low < d2).all() and (d2 < tile.high).all()
    centre = y.mean(dim=0)
    size = (x - centre).square().sum(1)[:, None] + (y - centre).square().sum(1)
    e = 2 * (x.shape[1] + 8) * EPS * size
    torch.testing.assert_close(tile.high - tile.low, 2 * e, rtol=0.2, atol=0)
    torch.testing.assert_close((tile.high + tile.low) / 2, d2, rtol=0, atol=e.max().item())


def test_nearly_all_is_decided_without_differences(rng):
    x, y = normal(rng, 200, 64), normal(rng, 300, 64)
    tile, radius = tile_of(x, y), torch.full((300,), 10.0, dtype=torch.float64)
    assert 0.05 < tile.certainly_within(radius).double().mean() < 0.95
    assert torch.equal(tile.certainly_within(radius), tile.possibly_within(radius))


@every_set
@pytest.mark.parametrize("few", [0, 5, 3000])
def test_pair_by_pair_is_the_same(sets, few, rng):
    x, y = sets(rng)
    i = torch.randint(len(x), (few,), generator=rng)
    j = torch.randint(len(y), (few,), generator=rng)
    expected = distances(x.double(), y.double())[i, j]
    assert torch.equal(tile_of(x, y).distances(i, j), expected)


def test_pairs_are_gathered_in_parts(rng, monkeypatch):
    x, y = normal(rng, 60, 7), normal(rng, 70, 7)
    i, j = torch.arange(60), torch.arange(60).flip(0)
    monkeypatch.setattr("routing.metrics.formulas.pairwise_distances.GATHERED", 7 * 13)
    assert torch.equal(tile_of(x, y).distances(i, j), distances(x, y)[i, j])


@pytest.mark.parametrize("num", [1, 63, 64, 65, 1024, 1025, 3333])
@pytest.mark.parametrize("block", [2, 50])
def test_tiles_hold_every_pair_once_and_in_order(num, block):
    seen, x = torch.zeros(5, num), torch.zeros(5, 1)
    for rows, cols, tile in tiles(x, torch.zeros(num, 1), block):
        assert tile.low.shape == seen[rows, cols].shape and cols.stop - cols.start <= 1024
        assert (seen[rows, : cols.start] == 1).all()
        seen[rows, cols] += 1
    assert (seen == 1).all()


@every_set
@pytest.mark.parametrize("num", [1, 4, 80])
@pytest.mark.parametrize("block", [9, 512])
def test_the_nearest_are_the_first_of_all_sorted(sets, num, block, rng):
    x, y = sets(rng)
    d, index = nearest(x, y, num, block)
    all_sorted = distances(x.double(), y.double()).sort(dim=1, stable=True)
    finite = all_sorted.values[:, :num] < torch.inf
    assert torch.equal(d, all_sorted.values[:, :num])
    assert torch.equal(index[finite], all_sorted.indices[:, :num][finite])  # of equals the lower


@pytest.mark.parametrize("grid", [2, 5, 1000])
def test_no_point_is_its_own_neighbour_though_a_copy_is(grid, rng):
    y = torch.randint(0, grid, (200, 2), generator=rng).float()
    own = torch.randperm(200, generator=rng)[:77]
    d, index = nearest(y[own], y, 3, 16, own=own)
    expected = distances(y[own].double(), y.double())
    expected[torch.arange(77), own] = torch.inf
    expected = expected.sort(dim=1, stable=True)
    assert torch.equal(d, expected.values[:, :3])
    assert torch.equal(index, expected.indices[:, :3])


def test_more_than_there_are_is_infinitely_far(rng):
    d, index = nearest(torch.zeros(2, 3), torch.ones(4, 3), 5, 8, own=torch.tensor([0, 3]))
    assert (d[:, :3] < torch.inf).all() and (d[:, 3:] == torch.inf).all()
    assert index.tolist() == [[1, 2, 3, -1, -1], [0, 1, 2, -1, -1]]
