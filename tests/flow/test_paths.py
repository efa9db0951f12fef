"""The reverse transition; conversions along the path are held by test_oracle.py."""

import math

import pytest
import torch

from routing.flow.paths import add_noise, alpha, reverse_transition, sigma, velocity

PAIRS = [(1.0, 0.9), (1.0, 0.0), (0.999, 0.5), (0.7, 0.69), (0.5, 0.2), (0.3, 0.001), (0.1, 0.0)]


def draws(rng, shape=(5, 2, 3)):
    x0, eps = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
    return x0, eps


def filled(value, num=5, dtype=torch.float64):
    return torch.full((num,), value, dtype=dtype)


@pytest.mark.parametrize("t, s", PAIRS)
def test_it_is_the_conditional_law_of_the_markov_process(t, s, rng):
    """Given x_0: cov(x_t, x_s) = a sigma_s^2, as x_t is a x_s and noise of its own."""
    x0, eps = draws(rng)
    x = add_noise(x0, eps, filled(t))
    mean, std = reverse_transition(x, velocity(x0, eps), filled(t), filled(s))
    a = (1 - t) / (1 - s)
    gain = a * s**2 / t**2  # cov / var
    torch.testing.assert_close(mean, (1 - s) * x0 + gain * (x - (1 - t) * x0))
    torch.testing.assert_close(std, filled(math.sqrt(s**2 - gain * a * s**2)))


@pytest.mark.parametrize("t, s", PAIRS)
def test_it_is_that_of_ddpm_on_the_variance_preserving_path(t, s, rng):
    """Ho et al. 2020, eq. 7, after x / sqrt(alpha^2 + sigma^2)."""
    x0, eps = draws(rng)
    x = add_noise(x0, eps, filled(t))
    mean, std = reverse_transition(x, velocity(x0, eps), filled(t), filled(s))
    size_t, size_s = math.hypot(1 - t, t), math.hypot(1 - s, s)
    bar_t, bar_s = ((1 - t) / size_t) ** 2, ((1 - s) / size_s) ** 2
    beta = 1 - bar_t / bar_s
    of_x0 = math.sqrt(bar_s) * beta / (1 - bar_t)
    of_x = math.sqrt(bar_t / bar_s) * (1 - bar_s) / (1 - bar_t)
    torch.testing.assert_close(mean / size_s, of_x0 * x0 + of_x * x / size_t)
    variance = (1 - bar_s) / (1 - bar_t) * beta
    torch.testing.assert_close(std / size_s, filled(math.sqrt(variance)))


@pytest.mark.parametrize("t, s", PAIRS)
def test_what_it_lacks_is_the_spread_of_the_data(t, s, rng):
    """Gaussian data N(0, S): the true variance of x_s given x_t, and what the docstring says."""
    S, (x, _) = 0.7, draws(rng)
    var_t = (1 - t) ** 2 * S + t**2
    v = (t - (1 - t) * S) / var_t * x
    mean, std = reverse_transition(x, v, filled(t), filled(s))
    cov = (1 - t) / (1 - s) * ((1 - s) ** 2 * S + s**2)
    torch.testing.assert_close(mean, cov / var_t * x)
    exact = (1 - s) ** 2 * S + s**2 - cov**2 / var_t
    spread = S - (1 - t) ** 2 * S**2 / var_t
    r = (1 - t) * s / ((1 - s) * t)
    lacks = (1 - s) ** 2 * (1 - r**2) ** 2 * spread
    torch.testing.assert_close(std.square(), filled(exact - lacks))


def test_ends_are_exact_and_all_pairs_finite(rng):
    x0, eps = draws(rng)
    v = velocity(x0, eps)
    mean, std = reverse_transition(eps, v, filled(1.0), filled(0.4))
    torch.testing.assert_close(mean, 0.6 * x0)
    assert torch.equal(std, filled(0.4))
    mean, std = reverse_transition(add_noise(x0, eps, filled(0.3)), v, filled(0.3), filled(0.0))
    torch.testing.assert_close(mean, x0)
    assert torch.equal(std, filled(0.0))
    grid = [0.0, 1e-7, 1e-3, 0.5, 1 - 1e-6, 1.0]
    for dtype in (torch.float32, torch.float64):
        for t, s in [(t, s) for t in grid for s in grid if s < t]:
            made = reverse_transition(
                x0.to(dtype), v.to(dtype), *(filled(a, 5, dtype) for a in (t, s))
            )
            assert all(a.isfinite().all() and a.dtype == dtype for a in made)


def test_rows_have_their_own_times(rng):
    x0, eps = draws(rng)
    t, s = torch.linspace(1, 0.5, 5).double(), torch.linspace(0.8, 0, 5).double()
    mean, std = reverse_transition(x0, eps, t, s)
    for i in range(5):
        row = slice(i, i + 1)
        alone = reverse_transition(x0[row], eps[row], t[row], s[row])
        assert torch.equal(mean[row], alone[0]) and torch.equal(std[row], alone[1])


def test_small_steps_do_not_cancel_in_single_precision(rng):
    t = torch.tensor([0.5, 0.9, 0.1])
    s = t - torch.tensor([1e-6, 1e-6, 1e-7])
    x = torch.zeros(3, 1)
    std, exact = (
        reverse_transition(x.to(d), x.to(d), t.to(d), s.to(d))[1] for d in (x.dtype, torch.float64)
    )
    torch.testing.assert_close(std.double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_variance_per_time_is_that_of_the_sde(t):
    x, h = torch.zeros(1, 1, dtype=torch.float64), 1e-6
    std = reverse_transition(x, x, filled(t, 1), filled(t - h, 1))[1]
    assert (std**2 / h).item() == pytest.approx(2 * t / (1 - t), rel=1e-4)
    assert alpha(torch.tensor(t)) + sigma(torch.tensor(t)) == 1  # the path of that g^2
