"""CMMD against a loop in long double; the two forms; the trap of single precision."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kid_features_to_metric

from routing.metrics.formulas.cmmd import GaussianReference, cmmd, cmmd_unbiased


def loop(x, y):
    """The definition, sigma 10, times 1000: over all pairs, and over pairs of different rows."""
    x, y = (
        (a / np.linalg.norm(a, axis=1, keepdims=True)).astype(np.longdouble)
        for a in (x.numpy(), y.numpy())
    )
    k = lambda a, b: np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / 200)  # noqa: E731
    kx, ky, kxy = k(x, x), k(y, y), k(x, y)
    biased = kx.mean() + ky.mean() - 2 * kxy.mean()
    n, m = len(x), len(y)
    within = (kx.sum() - n) / (n * (n - 1)) + (ky.sum() - m) / (m * (m - 1))
    return float(1000 * biased), float(1000 * (within - 2 * kxy.mean()))


def test_both_forms_are_those_of_the_definition(rng):
    x = torch.randn(40, 8, generator=rng, dtype=torch.float64) + 0.4
    y = torch.randn(50, 8, generator=rng, dtype=torch.float64)
    reference, once = GaussianReference.fit(y), torch.ones(1, 40)
    biased, unbiased = loop(x, y)
    assert cmmd(x, reference, once).item() == pytest.approx(biased, rel=1e-10)
    assert cmmd_unbiased(x, reference, once).item() == pytest.approx(unbiased, rel=1e-10)
    assert unbiased < biased


def test_without_bias_it_is_torch_fidelitys_distance_by_that_kernel(rng):
    """Of unit vectors, on one subset that is the set; theirs is not in thousandths."""
    x, y = (torch.randn(60, 8, generator=rng, dtype=torch.float64) + s for s in (0.5, 0))
    unit = [a / a.norm(dim=1, keepdim=True) for a in (x, y)]
    options = dict(kid_subsets=1, kid_subset_size=60, kid_kernel="rbf", kid_kernel_rbf_sigma=10.0)
    theirs = kid_features_to_metric(*unit, **options, verbose=False)
    found = cmmd_unbiased(x, GaussianReference.fit(y), torch.ones(1, 60)).item()
    expected = 1000 * theirs["kernel_inception_distance_mean"]
    assert found == pytest.approx(expected, rel=1e-6)  # theirs loses digits


def test_opposite_points_have_a_closed_form():
    """All samples at e, all of the reference at -e: |x - y| = 2, so D = 2000 (1 - exp(-1/50))."""
    e = torch.tensor([[3.0, 4.0]]).double()
    reference = GaussianReference.fit(-e.repeat(5, 1))
    for form in (cmmd, cmmd_unbiased):
        found = form(e.repeat(3, 1), reference, torch.ones(1, 3)).item()
        assert found == pytest.approx(2000 * (1 - np.exp(-0.02)), rel=1e-12)


def test_the_forms_differ_by_the_bias_that_is_stated(rng):
    """For counts too: (sum w^2 / n^2) of the samples, 1 / m of the reference."""
    x, y = (torch.randn(n, 5, generator=rng, dtype=torch.float64) for n in (12, 17))
    w = torch.randint(0, 4, (3, 12), generator=rng).double()
    reference = GaussianReference.fit(y)
    unit = x / x.norm(dim=1, keepdim=True)
    k = torch.exp(-torch.cdist(unit, unit).square() / 200).fill_diagonal_(0)
    gap = cmmd(x, reference, w) - cmmd_unbiased(x, reference, w)
    for row, found in zip(w, gap, strict=True):
        n, same = row.sum(), row.square().sum()
        others = row @ k @ row / (n**2 - same)  # never of a sample and its copy
        expected = 1000 * (same / n**2 * (1 - others) - reference.within / 17)
        assert found.item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_right_way_round(rng):
    x, y = (torch.randn(200, 6, generator=rng, dtype=torch.float64) + 1 for _ in range(2))
    reference, w = GaussianReference.fit(y), torch.ones(1, 200)
    for form in (cmmd, cmmd_unbiased):
        shifted = [form(x + s, reference, w).item() for s in (0, 0.5, 1, 2)]
        assert shifted == sorted(shifted) and shifted[1] > 5 * abs(shifted[0])
        collapsed = x.mean(dim=0) + 0.1 * (x - x.mean(dim=0))
        assert form(collapsed, reference, w).item() > 5 * abs(shifted[0])


def test_no_digits_are_lost_where_the_kernel_is_all_but_one(rng):
    y = torch.ones(30, 8) + 1e-3 * torch.randn(30, 8, generator=rng)
    x = torch.ones(30, 8) + 1e-3 * torch.randn(30, 8, generator=rng)
    found = cmmd(x, GaussianReference.fit(y), torch.ones(1, 30)).item()
    assert found == pytest.approx(loop(x.double(), y.double())[0], rel=1e-6)


def test_ones_that_cancel_on_paper_save_a_digit(rng):
    """Points 1e-4 apart: k - 1 is 1e-10, of which exp(z) - 1 would know six digits."""
    errors = []
    for _ in range(8):
        x, y = (1 + 3e-5 * torch.randn(2, 30, 8, generator=rng, dtype=torch.float64)).unbind()
        found = cmmd(x, GaussianReference.fit(y), torch.ones(1, 30)).item()
        errors.append(abs(found / loop(x, y)[0] - 1))
    assert np.mean(errors) < 1e-6


def test_lengths_do_not_count_and_the_same_set_is_at_zero(rng):
    x = torch.randn(20, 6, generator=rng, dtype=torch.float64)
    reference, once = GaussianReference.fit(x), torch.ones(1, 20)
    assert cmmd(x, reference, once).item() == pytest.approx(0, abs=1e-12)
    assert cmmd(5 * x, reference, once).item() == pytest.approx(0, abs=1e-12)


def test_a_replicate_leaves_samples_out_whatever_the_block(rng):
    x = torch.randn(24, 6, generator=rng, dtype=torch.float64)
    reference = GaussianReference.fit(torch.randn(30, 6, generator=rng, dtype=torch.float64) + 1)
    weights = torch.ones(2, 24)
    weights[1, 4:9] = 0
    kept = torch.cat([x[:4], x[9:]])
    for form in (cmmd, cmmd_unbiased):
        alone = form(kept, reference, torch.ones(1, 19)).item()
        assert form(x, reference, weights)[1].item() == pytest.approx(alone, rel=1e-10)
        small = form(x, reference, weights, block=5)
        torch.testing.assert_close(small, form(x, reference, weights))


@pytest.mark.parametrize("bad", [0.0, 1e200])
def test_a_row_without_a_length_is_refused(bad):
    x = torch.ones(4, 3, dtype=torch.float64)
    reference = GaussianReference.fit(x)
    x[1] = x[2] = bad
    message = "wanted rows of a positive finite length, got zero or overflow in 2 of 4; features"
    with pytest.raises(ValueError, match=f"^reference: {message}") as error:
        GaussianReference.fit(x)
    assert "\n" not in str(error.value)
    for form in (cmmd, cmmd_unbiased):
        with pytest.raises(ValueError, match=f"^samples: {message}"):
            form(x, reference, torch.ones(1, 4))
