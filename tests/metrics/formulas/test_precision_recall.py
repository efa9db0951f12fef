import math

import pytest
import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from routing.metrics.formulas.precision_recall import (
    NeighbourReference,
    ball_membership,
    ball_radii,
    neighbour_metrics,
)
from routing.statistics.jackknife import jackknife_weights, seed_blocks


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def metrics(x, y, k_precision=3, k_density=5):
    ref = NeighbourReference.fit(y, k_precision, k_density)
    return {k: v.item() for k, v in neighbour_metrics(x, ref, torch.ones(1, len(x))).items()}


def loop(x, y, k_precision, k_density):
    """The definitions, point by point."""
    x, y = x.tolist(), y.tolist()

    def radii(points, k):
        return [
            sorted(math.dist(p, q) for j, q in enumerate(points) if j != i)[k - 1]
            for i, p in enumerate(points)
        ]

    d = [[math.dist(p, q) for q in y] for p in x]
    n, m = range(len(x)), range(len(y))
    r, s, c = radii(y, k_precision), radii(x, k_precision), radii(y, k_density)
    return {
        "precision": sum(any(d[i][j] <= r[j] for j in m) for i in n) / len(x),
        "recall": sum(any(d[i][j] <= s[i] for i in n) for j in m) / len(y),
        "density": sum(d[i][j] <= c[j] for i in n for j in m) / (k_density * len(x)),
        "coverage": sum(any(d[i][j] <= c[j] for i in n) for j in m) / len(y),
    }


@pytest.mark.parametrize(("k_precision", "k_density"), [(3, 5), (1, 2), (5, 1)])
def test_agree_with_their_definitions(k_precision, k_density, rng):
    x, y = normal(rng, 40, 3) + 1.5, normal(rng, 30, 3)
    expected = loop(x, y, k_precision, k_density)
    assert metrics(x, y, k_precision, k_density) == pytest.approx(expected, rel=1e-12)
    assert all(0 < value != 1 for value in expected.values())


@pytest.mark.parametrize("k", [3, 5])
def test_precision_and_recall_agree_with_torch_fidelity(k, rng):
    x, y = 0.9 * normal(rng, 150, 6) + 0.2, normal(rng, 120, 6)
    expected = prc_features_to_metric(x, y, prc_neighborhood=k, verbose=False)
    ours = metrics(x, y, k_precision=k)
    assert ours["precision"] == pytest.approx(expected["precision"], rel=1e-6)  # theirs: float32
    assert ours["recall"] == pytest.approx(expected["recall"], rel=1e-6)


def test_points_on_a_line():
    """Worked by hand, k = 1: radii of 0, 1, 3, 7 are 1, 1, 2, 4, and of 8, 9, 11 are 1, 1, 2."""
    y = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    x = torch.tensor([[8.0], [9.0], [11.0]])
    assert metrics(x, y, 1, 1) == {
        "precision": 1.0,  # the ball of 7 reaches from 3 to 11
        "recall": 0.25,  # 7 is on the rim of the ball of 8
        "density": 1.0,
        "coverage": 0.25,
    }


def test_ties_and_copies_count():
    """On a grid distances tie; a set of copies is one point, of radius 0."""
    grid = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).double()
    assert metrics(grid, grid, 2, 4) == pytest.approx(loop(grid, grid, 2, 4), rel=1e-12)
    copies = grid[:1].repeat(6, 1)
    ours = metrics(copies, grid, 3, 5)
    assert ours["precision"] == 1 and ours["recall"] == 1 / 16
    assert ours == pytest.approx(loop(copies, grid, 3, 5), rel=1e-12)


def test_a_set_against_itself(rng):
    x = normal(rng, 80, 5)
    ours = metrics(x, x)
    assert ours["precision"] == ours["recall"] == ours["coverage"] == 1
    assert ours["density"] == pytest.approx((5 + 1) / 5, rel=1e-12)  # k neighbours and itself


@pytest.mark.parametrize("block", [1, 7, 40, 41, 1000])
def test_the_block_does_not_matter_bit_for_bit(block, rng):
    x, y = normal(rng, 41, 4), normal(rng, 33, 4)
    w = (torch.rand(4, 41, generator=rng) < 0.7).double()
    expected = neighbour_metrics(x, NeighbourReference.fit(y), w)
    ours = neighbour_metrics(x, NeighbourReference.fit(y, block=block), w, block=block)
    for name, value in expected.items():
        assert torch.equal(value, ours[name])


@pytest.mark.parametrize("share_kept", [0.2, 0.6, 0.95])
def test_radii_are_those_of_the_kept_points_alone(share_kept, rng):
    x = torch.randint(0, 4, (50, 3), generator=rng).double()  # ties and copies abound
    kept = torch.rand(5, 50, generator=rng) < share_kept
    radii = ball_radii(x, kept, (3, 1), block=16)
    for r, row in enumerate(kept):
        everyone = torch.ones(1, int(row.sum()), dtype=torch.bool)
        assert torch.equal(radii[:, r, row], ball_radii(x[row], everyone, (3, 1), block=512)[:, 0])
        assert (radii[:, r, ~row] == -math.inf).all()


def test_a_count_enters_the_means_over_samples_and_nothing_else(rng):
    x, y = normal(rng, 40, 3) + 1.5, normal(rng, 30, 3)
    ref = NeighbourReference.fit(y)
    w = torch.randint(0, 4, (1, 40), generator=rng).double()
    counted, kept = neighbour_metrics(x, ref, w), neighbour_metrics(x, ref, (w > 0).double())
    repeated = x.repeat_interleave(w[0].long(), dim=0)
    as_copies = neighbour_metrics(repeated, ref, torch.ones(1, len(repeated)))
    for name in ("precision", "density"):  # a sample's own value does not depend on the others
        torch.testing.assert_close(counted[name], as_copies[name], rtol=1e-12, atol=0)
        assert counted[name] != kept[name]
    for name in ("recall", "coverage"):
        assert torch.equal(counted[name], kept[name])


def plain(x, y, w, k_precision, k_density):
    """All four for every replicate from whole matrices of differences, nothing shared."""

    def d(a, b):
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")

    def radii(a, k):
        return d(a, a).fill_diagonal_(math.inf).kthvalue(k).values

    r, c = radii(y, k_precision), radii(y, k_density)
    rows = []
    for row in w:
        z, v = x[row > 0], row[row > 0]
        across, s = d(z, y), radii(z, k_precision)
        precise, balls = (across <= r).any(1).double(), (across <= c).double().sum(1)
        recalled, covered = (across <= s[:, None]).any(0), (across <= c).any(0)
        means = [v @ precise / v.sum(), recalled.double().mean()]
        rows.append([*means, v @ balls / v.sum() / k_density, covered.double().mean()])
    return dict(
        zip(("precision", "recall", "density", "coverage"), zip(*rows, strict=True), strict=True)
    )


WEIGHTS = {
    "jackknife": lambda rng: jackknife_weights(seed_blocks(120, 8)),
    "bootstrap": lambda rng: torch.poisson(torch.ones(9, 120), generator=rng),
    "few left in": lambda rng: torch.rand(9, 120, generator=rng) < 0.1,  # looks beyond the first
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS.keys())
@pytest.mark.parametrize("spread", [0.0, 0.1, 1, 30])
@pytest.mark.parametrize("grid", [False, True], ids=["continuous", "grid"])
def test_replicates_agree_with_whole_matrices_of_the_samples_left(weights, spread, grid, rng):
    x, y, w = spread * normal(rng, 120, 4), normal(rng, 1300, 4), weights(rng).double()
    if grid:
        x, y = x.round(), y.round()
    ours = neighbour_metrics(x, NeighbourReference.fit(y), w, block=50)
    for name, expected in plain(x, y, w, 3, 5).items():
        torch.testing.assert_close(ours[name], torch.stack(expected), rtol=1e-12, atol=1e-14)


def test_of_a_sample_in_no_replicate_nothing_is_seen(rng):
    x, y, w = normal(rng, 30, 2), normal(rng, 40, 2), torch.ones(2, 30)
    w[:, 7] = 0
    x[7] = 1e3
    ref = NeighbourReference.fit(y)
    ours, alone = (
        neighbour_metrics(x, ref, w),
        neighbour_metrics(x[w[0] > 0], ref, torch.ones(2, 29)),
    )
    for name, value in ours.items():
        torch.testing.assert_close(value, alone[name], rtol=1e-12, atol=0)


def test_groups_of_the_reference_have_their_own_recall_and_coverage(rng):
    modes = torch.tensor([[-20.0, 0], [20.0, 0], [0, 20.0]])
    groups = (torch.arange(300) % 5).clamp_max(2)  # of unequal sizes
    x, y = normal(rng, 160, 2) + modes[torch.arange(160) % 2], normal(rng, 300, 2) + modes[groups]
    w = jackknife_weights(seed_blocks(160, 8))
    found = ball_membership(x, NeighbourReference.fit(y), w)
    by_group, overall = found.by_group(groups, 3), found.metrics()
    sizes = groups.bincount().double()
    for name, values in by_group.items():
        assert values.shape == (9, 3) and (values[:, 2] == 0).all()  # nobody went there
        assert (values[:, :2] > 0.6).all()
        torch.testing.assert_close(values @ sizes / 300, overall[name], rtol=1e-12, atol=0)
    recalled = found.is_recalled[4, groups == 1].double().mean()
    assert by_group["recall"][4, 1] == pytest.approx(recalled.item(), rel=1e-12)
    with pytest.raises(ValueError, match=r"groups: wanted 0\.\.1, got 2; raise"):
        found.by_group(groups, 2)
    with pytest.raises(ValueError, match=r"groups: wanted 0\.\.2, got -1; raise"):
        found.by_group(groups - 1, 3)
    with pytest.raises(ValueError, match="points in all 4 groups, got none in 3; leave"):
        found.by_group(groups, 4)


def test_the_reference_keeps_the_precision_it_was_given(rng):
    y = normal(rng, 40, 3).float()
    single, double = NeighbourReference.fit(y), NeighbourReference.fit(y.double())
    assert single.points.dtype == torch.float32
    assert torch.equal(single.precision_radius, double.precision_radius)
    assert torch.equal(single.density_radius, double.density_radius)


def test_the_right_way_round(rng):
    y = 3 * normal(rng, 200, 16)
    collapsed = metrics(0.1 * normal(rng, 200, 16), y)  # the case of torch-fidelity's own tests
    assert collapsed["precision"] > 0.8 and collapsed["recall"] < 0.3
    assert collapsed["coverage"] > 0.5 > collapsed["recall"]  # one spot inside all large balls
    scattered = metrics(30 * normal(rng, 200, 16), y)
    assert scattered["precision"] < 0.1 and scattered["density"] < 0.1
    half = metrics(3 * normal(rng, 200, 16) * torch.tensor([1.0] * 8 + [0.0] * 8), y)
    assert half["recall"] < metrics(3 * normal(rng, 200, 16), y)["recall"]


def test_a_dropped_mode_lowers_recall_and_coverage(rng):
    modes = torch.tensor([[-20.0, 0], [20.0, 0]])
    y = normal(rng, 200, 2) + modes[torch.arange(200) % 2]
    ours = metrics(normal(rng, 200, 2) + modes[0], y)
    assert ours["precision"] > 0.8
    assert 0.4 < ours["recall"] <= 0.5 and 0.4 < ours["coverage"] <= 0.5


def test_coverage_of_the_same_distribution_is_about_one_minus_two_to_the_minus_k(rng):
    x, y = normal(rng, 1500, 2), normal(rng, 1500, 2)
    for k in (2, 5):
        assert metrics(x, y, k_density=k)["coverage"] == pytest.approx(1 - 2.0**-k, abs=0.03)


@pytest.mark.parametrize("k_precision, k_density", [(0, 5), (3, 0)])
def test_no_neighbour_is_refused(k_precision, k_density):
    with pytest.raises(ValueError, match="wanted at least 1 neighbour"):
        NeighbourReference.fit(torch.eye(9), k_precision, k_density)


@pytest.mark.parametrize("k_precision, k_density", [(9, 5), (3, 9)])
def test_more_neighbours_than_points_are_refused(k_precision, k_density):
    with pytest.raises(ValueError, match="reference: wanted at least 10 rows, got 9"):
        NeighbourReference.fit(torch.eye(9), k_precision, k_density)
    ref = NeighbourReference.fit(torch.eye(9), 8, 8)
    with pytest.raises(ValueError, match="samples: wanted at least 9 rows, got 8"):
        neighbour_metrics(torch.eye(9)[:8], ref, torch.ones(1, 8))
    left_out = 1 - torch.eye(9)[:1]
    with pytest.raises(ValueError, match="wanted at least 9 samples in every replicate, got 8"):
        neighbour_metrics(torch.eye(9), ref, left_out)
