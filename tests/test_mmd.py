"""CMMD against a loop in long double; the two forms; the trap of single precision."""

import numpy as np
import pytest
import torch

from routing.mmd import GaussianReference, cmmd, cmmd_unbiased


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


def test_no_digits_are_lost_where_the_kernel_is_all_but_one(rng):
    y = torch.ones(30, 8) + 1e-3 * torch.randn(30, 8, generator=rng)
    x = torch.ones(30, 8) + 1e-3 * torch.randn(30, 8, generator=rng)
    found = cmmd(x, GaussianReference.fit(y), torch.ones(1, 30)).item()
    assert found == pytest.approx(loop(x.double(), y.double())[0], rel=1e-6)


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


def test_a_row_of_zeros_is_refused():
    with pytest.raises(ValueError) as error:
        GaussianReference.fit(torch.zeros(4, 3))
    assert "\n" not in str(error.value)
