import numpy as np
import pytest
import torch
from scipy import linalg
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from routing.metrics.formulas import frechet_distance as frechet
from routing.metrics.formulas.frechet_distance import (
    FrechetReference,
    covariance_rank,
    frechet_bootstrap,
    frechet_distance,
    frechet_influence,
    sample_size_note,
)


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def with_moments(mean, root, num_samples, rng):
    """Samples whose sample mean is `mean` and unbiased covariance root @ root.T, exactly."""
    z = normal(rng, num_samples, len(mean))
    q = torch.linalg.qr(z - z.mean(dim=0)).Q * (num_samples - 1) ** 0.5
    return q @ root.T + mean


def distance(x, y):
    return frechet_distance(x, FrechetReference.fit(y), torch.ones(1, len(x))).item()


def sqrtm_distance(x, y):
    s, s_ref = x.T.cov(), y.T.cov()
    root = torch.as_tensor(linalg.sqrtm((s @ s_ref).numpy())).real
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return (shift + s.trace() + s_ref.trace() - 2 * root.trace()).item()


@pytest.mark.parametrize("num_samples", [50, 400])
def test_diagonal_gaussians_have_a_closed_form(num_samples, rng):
    m1, m2, s1, s2 = (normal(rng, 6) for _ in range(4))
    s1, s2 = s1.abs(), s2.abs()
    x = with_moments(m1, s1.diag(), num_samples, rng)
    y = with_moments(m2, s2.diag(), 70, rng)
    expected = ((m1 - m2) ** 2 + (s1 - s2) ** 2).sum().item()
    assert distance(x, y) == pytest.approx(expected, rel=1e-10)
    ref = FrechetReference.from_moments(m2, (s2**2).diag())
    weights = torch.ones(1, num_samples)
    assert frechet_distance(x, ref, weights).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("num_samples", [20, 300])
def test_covariances_that_do_not_commute_agree_with_torch_fidelity(num_samples, rng):
    x = normal(rng, num_samples, 12) @ normal(rng, 12, 12) + 1
    y = normal(rng, 200, 12) @ normal(rng, 12, 12)
    stats = [fid_features_to_statistics(s) for s in (x, y)]
    expected = fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    assert distance(x, y) == pytest.approx(expected, rel=1e-8)
    assert sqrtm_distance(x, y) == pytest.approx(expected, rel=1e-8)
    assert distance(y, x) == pytest.approx(expected, rel=1e-8)  # symmetric


def test_a_mean_shift_costs_its_square_and_a_set_is_at_no_distance_from_itself(rng):
    x = normal(rng, 100, 8)
    shift = normal(rng, 8)
    assert distance(x, x) == pytest.approx(0, abs=1e-8)
    assert distance(x + shift, x) == pytest.approx(shift.square().sum().item(), rel=1e-10)


def test_rotations_and_translations_change_nothing_and_a_scale_enters_squared(rng):
    x, y = normal(rng, 60, 5) * 2 + 1, normal(rng, 80, 5)
    q = torch.linalg.qr(normal(rng, 5, 5)).Q
    assert distance(x @ q, y @ q) == pytest.approx(distance(x, y), rel=1e-10)
    assert distance(x + 1e6, y + 1e6) == pytest.approx(distance(x, y), rel=1e-8)
    assert distance(3 * x, 3 * y) == pytest.approx(9 * distance(x, y), rel=1e-10)


def test_singular_covariances_have_a_closed_form(rng):
    """Sets on different axes of the space: what they share is one axis of four."""
    s1 = torch.tensor([3.0, 2, 0, 0], dtype=torch.float64)
    s2 = torch.tensor([0.0, 5, 4, 0], dtype=torch.float64)
    flat = lambda s, n: with_moments(torch.zeros(4).double(), s.diag(), n, rng)  # noqa: E731
    x, y = flat(s1, 30), flat(s2, 40)
    expected = ((s1 - s2) ** 2).sum().item()
    assert distance(x, y) == pytest.approx(expected, abs=1e-6)
    collapsed = torch.ones(50, 4).double()
    assert distance(collapsed, y) == pytest.approx(4 + (s2**2).sum().item(), abs=1e-6)


@pytest.mark.parametrize(("num_samples", "num_reference"), [(7, 40), (40, 7), (7, 9), (9, 7)])
def test_fewer_points_than_dimensions(num_samples, num_reference, rng):
    x, y = normal(rng, num_samples, 20) + 0.5, normal(rng, num_reference, 20)
    a = (x - x.mean(dim=0)) / (num_samples - 1) ** 0.5
    b = (y - y.mean(dim=0)) / (num_reference - 1) ** 0.5
    root = torch.linalg.matrix_norm(a @ b.T, "nuc")
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    expected = shift + a.square().sum() + b.square().sum() - 2 * root
    assert distance(x, y) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("num_samples", [12, 200])
def test_a_count_is_a_repetition(num_samples, rng):
    x, y = normal(rng, num_samples, 15) + 0.5, normal(rng, 100, 15)
    w = torch.randint(0, 4, (3, num_samples), generator=rng).double()
    replicates = frechet_distance(x, FrechetReference.fit(y), w)
    expected = [distance(x.repeat_interleave(row.long(), dim=0), y) for row in w]
    assert replicates.tolist() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("num_samples", [12, 60])
def test_the_panels_do_not_matter(num_samples, rng, monkeypatch):
    x, reference = normal(rng, num_samples, 20) + 0.5, FrechetReference.fit(normal(rng, 40, 20))
    w = torch.randint(0, 4, (3, num_samples), generator=rng).double()
    whole = frechet_distance(x, reference, w), frechet_influence(x, reference)
    monkeypatch.setattr("routing.metrics.formulas.frechet_distance.PANEL", 6)
    torch.testing.assert_close(frechet_distance(x, reference, w), whole[0], rtol=1e-9, atol=0)
    torch.testing.assert_close(frechet_influence(x, reference), whole[1], rtol=1e-7, atol=1e-7)


def test_the_right_way_round(rng):
    y = normal(rng, 300, 4)
    near, far = normal(rng, 300, 4), normal(rng, 300, 4)
    shifts = [distance(near + s, y) for s in (0, 0.5, 1, 2)]
    assert shifts == sorted(shifts) and shifts[1] > 5 * shifts[0]
    assert distance(0.1 * far, y) > 1  # collapse


def test_what_is_no_covariance_is_refused():
    with pytest.raises(ValueError, match="wanted eigenvalues >= 0, got -1"):
        FrechetReference.from_moments(torch.zeros(2), torch.tensor([[1.0, 2], [2, 1]]))


@pytest.mark.parametrize("dim", [4, 33])
@pytest.mark.parametrize("num_reference", [25, 40])
def test_the_influence_is_the_derivative_along_a_count(dim, num_reference, rng):
    """Central differences of the exact distance, whose weights may be any number >= 0 inside."""
    x, y = normal(rng, 30, dim) + 0.3, normal(rng, num_reference, dim) * 1.5
    reference = FrechetReference.fit(y)
    phi = frechet_influence(x, reference)
    assert phi.mean().abs() < 1e-12 and phi.shape == (30,)

    def value(w):
        n = w.sum()
        m = w @ x / n
        rows = (w / (n - 1)).sqrt()[:, None] * (x - m)
        root = torch.linalg.matrix_norm(rows @ reference.root, "nuc")  # right for singular sets
        trace = rows.square().sum() + reference.root.square().sum()
        return (m - reference.mean).square().sum() + trace - 2 * root

    step = 1e-5
    for i, j in ((0, 1), (7, 22)):  # one more of i, one less of j: the number stays
        w = torch.ones(30, dtype=torch.float64)
        w[i], w[j] = 1 + step, 1 - step
        up = value(w)
        w[i], w[j] = 1 - step, 1 + step
        slope = (up - value(w)) / (2 * step)
        torch.testing.assert_close((phi[i] - phi[j]) / 30, slope, rtol=1e-5, atol=1e-7)


def test_draws_of_the_expansion_spread_like_exact_ones(rng):
    x, y = normal(rng, 800, 3) * 1.2 + 0.3, normal(rng, 900, 3)
    reference, numbers = FrechetReference.fit(y), np.random.default_rng(1)
    counts = torch.from_numpy(numbers.multinomial(800, np.full(800, 1 / 800), size=200)).double()
    quick = frechet_bootstrap(x, reference, counts)
    exact = frechet_distance(x, reference, counts)
    assert quick.std() == pytest.approx(exact.std().item(), rel=0.05)
    assert torch.corrcoef(torch.stack([quick, exact]))[0, 1] > 0.99
    once = frechet_bootstrap(x, reference, torch.ones(1, 800))
    torch.testing.assert_close(once, frechet_distance(x, reference, torch.ones(1, 800)))


def test_draws_of_the_expansion_lie_around_the_value_and_exact_ones_above(rng):
    """Near zero F is bias, and exact draws add it once more."""
    x, y = normal(rng, 200, 6), normal(rng, 4000, 6)
    reference, numbers = FrechetReference.fit(y), np.random.default_rng(1)
    counts = torch.from_numpy(numbers.multinomial(200, np.full(200, 1 / 200), size=300)).double()
    value = frechet_distance(x, reference, torch.ones(1, 200))
    quick = frechet_bootstrap(x, reference, counts) - value
    exact = frechet_distance(x, reference, counts) - value
    assert abs(quick.mean()) < 4 * quick.std() / 300**0.5 < 0.3 * exact.mean()
    assert exact.mean().item() == pytest.approx(value.item(), rel=0.35)


def test_moments_in_blocks_are_those_of_the_whole(rng):
    y = normal(rng, 500, 6) + 100
    whole, parts = FrechetReference.fit(y), FrechetReference.of_blocks(iter(y.split(37)))
    torch.testing.assert_close(parts.mean, whole.mean)
    torch.testing.assert_close(parts.root @ parts.root.T, torch.cov(y.T))
    torch.testing.assert_close(whole.root @ whole.root.T, torch.cov(y.T))


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-6, 1e-4])
@pytest.mark.parametrize(("num_samples", "digits"), [(8, 1e-11), (12, 1e-7), (60, 1e-7)])
@pytest.mark.parametrize("size", [400, 37])
def test_a_reference_that_is_all_but_singular(noise, num_samples, digits, size, rng):
    """8 directions of 20, or nearly: T is as good as 1e-8 for each direction without any."""
    y = normal(rng, 400, 8) @ normal(rng, 8, 20) + noise * normal(rng, 400, 20)
    x = normal(rng, num_samples, 20)
    reference = FrechetReference.of_blocks(iter(y.split(size)))
    a = (x - x.mean(dim=0)) / (num_samples - 1) ** 0.5
    b = (y - y.mean(dim=0)) / 399**0.5
    shift = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    root = torch.linalg.matrix_norm(a @ b.T, "nuc")
    expected = (shift + a.square().sum() + b.square().sum() - 2 * root).item()
    found = frechet_distance(x, reference, torch.ones(1, num_samples)).item()
    assert found == pytest.approx(expected, rel=digits)


def test_few_rows_in_blocks_have_the_root_with_few_columns(rng):
    y = normal(rng, 9, 20)
    found = FrechetReference.of_blocks(iter(y.split(4)))
    assert found.root.shape == (20, 9)
    torch.testing.assert_close(found.root @ found.root.T, torch.cov(y.T))


def test_the_influence_of_samples_and_reference_without_common_directions(rng):
    """Axes of their own: T = 0 and stays so along x, and phi is that of mean and trace alone."""
    x, y = normal(rng, 20, 6), normal(rng, 30, 6)
    x[:, 3:], y[:, :3] = 0, 0
    phi = frechet_influence(x, FrechetReference.fit(y))
    c = x - x.mean(dim=0)
    expected = 2 * c @ (x.mean(dim=0) - y.mean(dim=0)) + 20 / 19 * c.square().sum(dim=1)
    torch.testing.assert_close(phi, expected - expected.mean())


@pytest.mark.parametrize(("num_samples", "num_reference"), [(60, 40), (60, 9), (6, 40), (15, 40)])
def test_panels_and_blocks_change_rounding_alone(num_samples, num_reference, rng, monkeypatch):
    x, y = normal(rng, num_samples, 17) + 0.5, normal(rng, num_reference, 17)
    w = torch.ones(3, num_samples, dtype=torch.float64)
    w[1, ::4], w[2, 1::5] = 0, 2
    references = FrechetReference.fit(y), FrechetReference.from_moments(y.mean(dim=0), y.T.cov())
    found = [(frechet_distance(x, r, w), frechet_influence(x, r)) for r in references]
    monkeypatch.setattr(frechet, "PANEL", 3)
    monkeypatch.setattr(frechet, "BLOCK", 7)
    for (distances, phi), reference in zip(found, references, strict=True):
        torch.testing.assert_close(frechet_distance(x, reference, w), distances, rtol=1e-9, atol=0)
        torch.testing.assert_close(frechet_influence(x, reference), phi, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-6, atol=0)


def test_published_moments_in_single_precision_are_counted_in_double(rng):
    """Rounded to float32, a covariance without some directions has eigenvalues below zero."""
    y = normal(rng, 50, 6) @ normal(rng, 6, 12)
    mean, covariance = y.mean(dim=0).float(), y.T.cov().float()
    assert torch.linalg.eigvalsh(covariance.double())[0] < 0
    single = FrechetReference.from_moments(mean, covariance)
    double = FrechetReference.from_moments(mean.double(), covariance.double())
    assert torch.equal(single.mean, double.mean) and torch.equal(single.root, double.root)
    assert single.mean.dtype == single.root.dtype == torch.float64
    x = normal(rng, 40, 12)
    found = frechet_distance(x, single, torch.ones(1, 40)).item()
    assert found == pytest.approx(distance(x, y), rel=1e-2)


def test_draws_of_another_number_are_refused(rng):
    x, reference = normal(rng, 5, 2), FrechetReference.fit(normal(rng, 9, 2))
    short = torch.tensor([[1.0, 1, 1, 1, 1], [2, 2, 0, 0, 0]])
    message = r"wanted rows of 5 counts that sum to 5 \(samples\), got a row of 5 that sums to 4; "
    with pytest.raises(ValueError, match=message):
        frechet_bootstrap(x, reference, short)


def test_few_samples_are_said_to_be_worth_little():
    assert [covariance_rank(n, 64) for n in (2, 64, 65, 66)] == [1, 63, 64, 64]
    known = {dim: FrechetReference(torch.zeros(dim), torch.eye(dim)) for dim in (64, 2048)}
    assert "covariance of rank 63" in sample_size_note(64, known[64])
    for num, dim, enough in ((65, 64, 10_000), (9_999, 64, 10_000), (20_479, 2048, 20_480)):
        assert sample_size_note(num, known[dim]).endswith(f"take {enough} samples")
        assert not sample_size_note(enough, known[dim])


def test_a_reference_of_few_images_is_said_to_be_singular(rng):
    few, enough = (FrechetReference.fit(normal(rng, m, 8)) for m in (5, 9))
    said = "the covariance of 5 reference images in 8 dimensions is singular, which adds a bias"
    assert sample_size_note(10_000, few).startswith(said) and not sample_size_note(10_000, enough)
    both = sample_size_note(8, few)
    assert both.startswith("8 samples in 8 dimensions") and f"; {said}" in both
    x = normal(rng, 4000, 8)
    far, near = (frechet_distance(x, known, torch.ones(1, 4000)) for known in (few, enough))
    assert far > 1 and near < far
