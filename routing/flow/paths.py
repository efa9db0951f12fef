"""The probability path between data and noise, and the conversions along it.

The linear (rectified-flow) path, with t = 0 data and t = 1 noise:

    x_t = alpha_t x_0 + sigma_t eps ,   alpha_t = 1 - t ,   sigma_t = t
    v   = d x_t / dt = eps - x_0

so that  x_0 = x_t - t v ,  eps = x_t + (1 - t) v ,  score = -eps / t  and the signal-to-noise
ratio is ((1 - t) / t)^2. Source: Liu et al. 2023, arXiv:2209.03003; Lipman et al. 2023,
arXiv:2210.02747 (time reversed). This is the only file that knows which end is noise. Another
path is another set of these functions.

Stochastic sampling uses the Markov process  dx = f x dt + g dW  that has the same marginals,
f = (log alpha)' = -1 / (1 - t),  g^2 = (sigma^2)' - 2 f sigma^2 = 2 t / (1 - t) : from s to t > s

    x_t = a x_s + sqrt(sigma_t^2 - a^2 sigma_s^2) z ,   a = alpha_t / alpha_s

By Bayes' rule with x_s ~ N(alpha_s x_0, sigma_s^2), the reverse transition given x_0 is
(`reverse_transition`; on the variance-preserving path it is eq. 7 of Ho et al. 2020,
arXiv:2006.11239)

    x_s ~ N(alpha_s x_0 + r sigma_s eps, (1 - r^2) sigma_s^2) ,   r = a sigma_s / sigma_t

with eps = (x_t - alpha_t x_0) / sigma_t and r^2 = SNR_t / SNR_s, which is 0 at t = 1 and at s = 0.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Time = Float[Tensor, " batch"]  # in [0, 1]; 1 = pure noise, 0 = data


def alpha(t: Tensor) -> Tensor:
    """Return the weight of the data at time `t` (any shape)."""
    return 1 - t


def sigma(t: Tensor) -> Tensor:
    """Return the weight of the noise at time `t` (any shape)."""
    return t


def half_log_snr(t: Tensor) -> Tensor:
    """Return lambda = log(alpha_t / sigma_t): +inf at data, -inf at noise."""
    return torch.log(alpha(t)) - torch.log(sigma(t))


def add_noise(
    x0: Float[Tensor, "batch *dims"], eps: Float[Tensor, "batch *dims"], t: Time
) -> Float[Tensor, "batch *dims"]:
    """Return x_t, the point at time `t` on the path from `x0` to `eps`."""
    t = append_dims(t, x0)
    return alpha(t) * x0 + sigma(t) * eps


def velocity(
    x0: Float[Tensor, "batch *dims"], eps: Float[Tensor, "batch *dims"]
) -> Float[Tensor, "batch *dims"]:
    """Return the regression target v = eps - x_0, which is constant along the linear path."""
    return eps - x0


def x0_from_velocity(
    x: Float[Tensor, "batch *dims"], v: Float[Tensor, "batch *dims"], t: Time
) -> Float[Tensor, "batch *dims"]:
    """Return the predicted clean sample  x_0 = x_t - t v."""
    return x - append_dims(t, x) * v


def eps_from_velocity(
    x: Float[Tensor, "batch *dims"], v: Float[Tensor, "batch *dims"], t: Time
) -> Float[Tensor, "batch *dims"]:
    """Return the predicted noise  eps = x_t + (1 - t) v."""
    return x + (1 - append_dims(t, x)) * v


def score_from_velocity(
    x: Float[Tensor, "batch *dims"], v: Float[Tensor, "batch *dims"], t: Time
) -> Float[Tensor, "batch *dims"]:
    """Return the score  grad log p_t(x_t) = -eps / t, which is infinite at t = 0."""
    return -eps_from_velocity(x, v, t) / append_dims(t, x)


def reverse_transition(
    x: Float[Tensor, "batch *dims"], v: Float[Tensor, "batch *dims"], t: Time, s: Time
) -> tuple[Float[Tensor, "batch *dims"], Time]:
    """Return mean and standard deviation of x_s given x_t = `x`, for x_0 and eps predicted by `v`.

    Both are finite for  0 <= s < t <= 1. At t = 1 the mean is alpha_s x_0 and the deviation
    sigma_s, since x_1 is independent of x_s. At s = 0 they are x_0 and 0. Departs from the true
    reverse transition: x_0 is taken as known, which leaves alpha_s^2 (1 - r^2)^2 Var[x_0 | x_t]
    out of the variance.
    """
    t64, s64 = t.double(), s.double()  # float64, because 1 - r^2 cancels where steps are small
    r = alpha(t64) / alpha(s64) * sigma(s64) / sigma(t64)
    keep, std = r * sigma(s64), (1 - r.square()).sqrt() * sigma(s64)
    x0, eps = x0_from_velocity(x, v, t), eps_from_velocity(x, v, t)
    mean = append_dims(alpha(s), x) * x0 + append_dims(keep.to(x.dtype), x) * eps
    return mean, std.to(x.dtype)


def append_dims(t: Time, x: Float[Tensor, "batch *dims"]) -> Tensor:
    """Return `t` with trailing axes of length one, so that it multiplies `x` row by row."""
    return t.reshape(-1, *[1] * (x.ndim - 1))
