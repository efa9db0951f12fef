import math

import pytest
import torch
from scipy import stats

from routing.metrics.formulas.energy_distance import (
    EnergyReference,
    energy_distance,
    euclidean_distances,
)
from routing.metrics.formulas.pairwise_distances import distances


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def distance(x, y, block=512):
    return energy_distance(x, EnergyReference.fit(y, block), torch.ones(1, len(x)), block).item()


def loop(x, y, w):
    """The definition, pair by pair."""
    x, y, w = x.tolist(), y.tolist(), w.tolist()
    n, m = range(len(x)), range(len(y))
    pairs = sum(w[i] * w[j] for i in n for j in n if i != j)
    xx = sum(w[i] * w[j] * math.dist(x[i], x[j]) for i in n for j in n if i != j) / pairs
    yy = sum(math.dist(y[i], y[j]) for i in m for j in m if i != j) / (len(y) * (len(y) - 1))
    xy = sum(w[i] * math.dist(x[i], y[j]) for i in n for j in m) / (sum(w) * len(y))
    return 2 * xy - xx - yy


def test_agrees_with_the_definition_for_any_counts(rng):
    x, y = normal(rng, 9, 3) + 0.4, normal(rng, 7, 3)
    w = torch.randint(0, 4, (4, 9), generator=rng).double()
    w[0] = 1
    replicates = energy_distance(x, EnergyReference.fit(y), w, block=4)
    assert replicates.tolist() == pytest.approx([loop(x, y, row) for row in w], rel=1e-11)


def test_agrees_with_scipy_on_a_line_up_to_its_bias(rng):
    """scipy's is the square root of the V-form, which counts each point against itself."""
    x, y = normal(rng, 15, 1) + 1, normal(rng, 12, 1)
    v_form = stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    within = sum(distances(s, s).mean().item() / (len(s) - 1) for s in (x, y))
    assert distance(x, y) == pytest.approx(v_form - within, rel=1e-10)


def test_gaussians_a_shift_apart_have_a_closed_form(rng):
    """E |N(mu, s^2)| by the folded normal law, s^2 = 2 for the difference of two."""
    s, mu = math.sqrt(2), 1.0
    across = stats.foldnorm.mean(mu / s, scale=s)
    expected = 2 * (across - stats.foldnorm.mean(0, scale=s))
    draws = [distance(normal(rng, 100, 1) + mu, normal(rng, 100, 1)) for _ in range(200)]
    draws = torch.tensor(draws)
    assert abs(draws.mean().item() - expected) < 4 * draws.std().item() / math.sqrt(200)


def test_two_points_apart_have_a_closed_form():
    assert distance(torch.zeros(3, 2), torch.tensor([[3.0, 4.0]] * 6)) == 10


def test_the_block_does_not_matter(rng):
    x, y = normal(rng, 23, 4), normal(rng, 11, 4)
    for block in (1, 5, 22, 23):
        assert distance(x, y, block) == pytest.approx(distance(x, y), rel=1e-12)


def test_distances_are_exact_at_copies_and_blind_to_their_block(rng):
    x, y = normal(rng, 60, 40) + 1e4, normal(rng, 50, 40) + 1e4
    assert (distances(x, x.clone()).diagonal() == 0).all()
    d = distances(x, y)
    assert torch.equal(d, distances(y, x).T)
    assert torch.equal(d[10:13, 30:], distances(x[10:13], y[30:]))


def test_the_right_way_round(rng):
    x, y = normal(rng, 200, 4), normal(rng, 200, 4)
    shifts = [distance(x + s, y) for s in (0, 0.5, 1, 2)]
    assert shifts == sorted(shifts) and shifts[1] > 5 * abs(shifts[0])
    assert distance(x * 0.1, y) > 5 * abs(shifts[0])  # collapse


@pytest.mark.parametrize("dim", [3, 600])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_products_give_the_distances_near_and_far(dim, offset, rng):
    """Copies, pairs a millionth apart, pairs at every scale up to a million."""
    x = normal(rng, 40, dim)
    scales = torch.logspace(-6, 6, 40, dtype=torch.float64)[:, None]
    y = torch.cat([x, x + 1e-6 * normal(rng, 40, dim), scales * normal(rng, 40, dim)])
    x, y = x + offset, y + offset
    d = distances(x, y)
    torch.testing.assert_close(euclidean_distances(x, y), d, rtol=1e-11, atol=0)
    assert (euclidean_distances(x, y).diagonal() == 0).all()
