import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from routing.metrics.formulas.kernel_distance import (
    KernelReference,
    across_mean,
    kernel_distance,
    polynomial,
    within_mean,
)


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def distance(x, y):
    return kernel_distance(x, KernelReference.fit(y), torch.ones(1, len(x))).item()


def loop(x, y, w):
    """The definition, pair by pair."""

    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    def mean(terms):
        terms = list(terms)
        return sum(v * value for v, value in terms) / sum(v for v, _ in terms)

    x, y, w = x.tolist(), y.tolist(), w.tolist()
    n, m = range(len(x)), range(len(y))
    xx = mean((w[i] * w[j], k(x[i], x[j])) for i in n for j in n if i != j)
    yy = mean((1, k(y[i], y[j])) for i in m for j in m if i != j)
    xy = mean((w[i], k(x[i], y[j])) for i in n for j in m)
    return xx + yy - 2 * xy


def test_agrees_with_the_definition_for_any_counts(rng):
    x, y = normal(rng, 9, 3) + 0.4, normal(rng, 7, 3)
    w = torch.randint(0, 4, (4, 9), generator=rng).double()
    w[0] = 1
    replicates = kernel_distance(x, KernelReference.fit(y), w, block=4)
    assert replicates.tolist() == pytest.approx([loop(x, y, row) for row in w], rel=1e-11)


def test_agrees_with_torch_fidelity_when_its_subset_is_the_set(rng):
    x, y = normal(rng, 80, 10) * 1.5 + 0.2, normal(rng, 80, 10)
    options = dict(kid_subsets=1, kid_subset_size=80, verbose=False)
    expected = kid_features_to_metric(x, y, **options)["kernel_inception_distance_mean"]
    assert distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_the_usual_form_scatters_around_it(rng):
    """torch-fidelity's default, a mean over random subsets: the same expectation, more noise."""
    x, y = normal(rng, 300, 10) * 1.2 + 0.5, normal(rng, 300, 10)
    options = dict(kid_subsets=200, kid_subset_size=60, verbose=False)
    found = kid_features_to_metric(x, y, **options)
    mean, spread = (found[f"kernel_inception_distance_{name}"] for name in ("mean", "std"))
    assert abs(distance(x, y) - mean) < 4 * spread / 200**0.5 < 0.1 * mean


def test_a_set_is_at_no_distance_from_itself_or_less(rng):
    """Across, each point meets itself:  D = -(2 / n) (mean k(x, x) - mean of the other pairs)."""
    x = normal(rng, 50, 4)
    k = polynomial(x, x)
    others = (k.sum() - k.trace()) / (50 * 49)
    expected = -2 / 50 * (k.trace() / 50 - others).item()
    assert distance(x, x) == pytest.approx(expected, rel=1e-9) and expected < 0


def test_points_on_a_line_have_a_closed_form():
    """Samples all at a, reference all at b: D = k(a, a) + k(b, b) - 2 k(a, b)."""
    a, b = 2.0, -0.5
    expected = (a * a + 1) ** 3 + (b * b + 1) ** 3 - 2 * (a * b + 1) ** 3
    assert distance(torch.full((5, 1), a), torch.full((4, 1), b)) == pytest.approx(expected)


def test_the_pair_means_do_not_depend_on_the_block(rng):
    x, y = normal(rng, 23, 4), normal(rng, 11, 4)
    w = torch.randint(0, 3, (3, 23), generator=rng).double()
    within = [within_mean(polynomial, x, w, block) for block in (1, 5, 22, 23, 100)]
    across = [across_mean(polynomial, x, y, w, block) for block in (1, 5, 22, 23, 100)]
    for values in (within, across):
        for value in values:
            torch.testing.assert_close(value, values[0], rtol=1e-12, atol=0)
    block = [KernelReference.fit(y, block).within for block in (2, 11)]
    torch.testing.assert_close(*block, rtol=1e-12, atol=0)


def test_pairs_are_counted_in_double_whatever_the_points(rng):
    x, y = normal(rng, 23, 4).float(), normal(rng, 11, 4).float()
    w = torch.ones(2, 23, dtype=torch.float64)
    single = within_mean(polynomial, x, w, 5), across_mean(polynomial, x, y, w, 5)
    x, y = x.double(), y.double()
    double = within_mean(polynomial, x, w, 5), across_mean(polynomial, x, y, w, 5)
    assert all(torch.equal(a, b) for a, b in zip(single, double, strict=True))


def test_without_bias_the_mean_over_equal_distributions_is_zero(rng):
    y = KernelReference.fit(normal(rng, 40, 2))
    # With a fixed reference the mean over samples is the distance to *that* reference.
    far = kernel_distance(normal(rng, 2000, 2), y, torch.ones(1, 2000)).item()
    draws = torch.cat(
        [kernel_distance(normal(rng, 20, 2), y, torch.ones(1, 20)) for _ in range(144)]
    )
    assert abs(draws.mean().item() - far) < 4 * draws.std().item() / 12
    both = [distance(normal(rng, 20, 2), normal(rng, 20, 2)) for _ in range(144)]
    both = torch.tensor(both)
    assert abs(both.mean()) < 4 * both.std() / 12 and both.min() < 0


def test_the_right_way_round(rng):
    x, y = normal(rng, 200, 4), normal(rng, 200, 4)
    shifts = [distance(x + s, y) for s in (0, 0.5, 1, 2)]
    assert shifts == sorted(shifts) and shifts[1] > 5 * abs(shifts[0])
    assert distance(x * 0.1, y) > 5 * abs(shifts[0])  # collapse
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-10)
