"""The probability path between data and noise, and the conversions along it.

The linear (rectified-flow) path, with t = 0 data and t = 1 noise:

    x_t = alpha_t x_0 + sigma_t eps ,   alpha_t = 1 - t ,   sigma_t = t
    v   = d x_t / dt = eps - x_0

so that  x_0 = x_t - t v ,  eps = x_t + (1 - t) v ,  score = -eps / t  and the signal-to-noise
ratio is ((1 - t) / t)^2. Source: Liu et al. 2023, arXiv:2209.03003; Lipman et al. 2023,
arXiv:2210.02747 (time reversed). This is the only file that knows which end is noise; another
path is another set of these functions.
"""

import torch
from jaxtyping import Float
from torch import Tensor

Time = Float[Tensor, " batch"]  # in [0, 1]; 1 = pure noise, 0 = data


def alpha(t: Tensor) -> Tensor:
    """Weight of the data at time `t` (any shape)."""
    return 1 - t


def sigma(t: Tensor) -> Tensor:
    """Weight of the noise at time `t` (any shape)."""
    return t


def log_snr_half(t: Tensor) -> Tensor:
    """lambda = log(alpha_t / sigma_t): +inf at data, -inf at noise."""
    return torch.log(alpha(t)) - torch.log(sigma(t))


def noised(
    x0: Float[Tensor, "batch *dims"], eps: Float[Tensor, "batch *dims"], t: Time
) -> Float[Tensor, "batch *dims"]:
    """x_t, the point at time `t` on the path from `x0` to `eps`."""
    t = along(t, x0)
    return alpha(t) * x0 + sigma(t) * eps


def velocity(
    x0: Float[Tensor, "batch *dims"], eps: Float[Tensor, "batch *dims"]
) -> Float[Tensor, "batch *dims"]:
    """The regression target v = eps - x_0 (constant along the linear path)."""
    return eps - x0


def x0_from_velocity(
    x: Float[Tensor, "batch *dims"], v: Float[Tensor, "batch *dims"], t: Time
) -> Float[Tensor, "batch *dims"]:
    """The predicted clean sample  x_0 = x_t - t v."""
    return x - along(t, x) * v


def eps_from_velocity(
    x: Float[Tensor, "batch *dims"], v: Float[Tensor, "batch *dims"], t: Time
) -> Float[Tensor, "batch *dims"]:
    """The predicted noise  eps = x_t + (1 - t) v."""
    return x + (1 - along(t, x)) * v


def score_from_velocity(
    x: Float[Tensor, "batch *dims"], v: Float[Tensor, "batch *dims"], t: Time
) -> Float[Tensor, "batch *dims"]:
    """grad log p_t(x_t) = -eps / t; infinite at t = 0."""
    return -eps_from_velocity(x, v, t) / along(t, x)


def along(t: Time, x: Float[Tensor, "batch *dims"]) -> Tensor:
    """`t` with trailing axes of length one, so that it multiplies `x` row by row."""
    return t.reshape(-1, *[1] * (x.ndim - 1))
