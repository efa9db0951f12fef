"""Samplers: from t = 1 (noise) to t = 0 (data), along  dx/dt = v(x, t)  or in law, of known order.

A step goes from time s down to time t < s. `velocity(x, t, step) -> v` is any callable; x is
[batch *dims], t is [batch] in the dtype of x, and `step` is the index of the step, the same for
all stages of one step, so that noise and routing draws can hang on it.

    euler      x_t = x_s + (t - s) v(x_s, s)                                            order 1
    heun       x_t = x_s + (t - s) (v(x_s, s) + v(x', t)) / 2 ,  x' the Euler step      order 2
    rk4        the classical Runge-Kutta method, the reference                          order 4
    dpmpp_2m   DPM-Solver++(2M): two-step in lambda = log(alpha_t / sigma_t)            order 2
    ancestral  x_t ~ q(x_t | x_s, x_0 = x_s - s v(x_s, s)), drawn with noise      weak order 1

Every step is the method itself: Heun also ends with a full step and asks v at t = 0. The grid
is uniform in t before the shift of flow matching,  t' = shift t / (1 + (shift - 1) t)  (Esser
et al. 2024, arXiv:2403.03206, eq. 23), and holds 1 and 0 exactly. Arithmetic on x is elementwise
with the same float64 coefficients for all rows: a sample does not see its batch. Gradients
flow; wrap in torch.no_grad() to save memory.

Stochastic samplers declare it (`is_stochastic`) and their weak order, that of the law of the end;
they take their noise from `noise(step)`, standard normals like x, and the caller gives each
sample its own stream. The others do not look at it.

To add one, write a frozen dataclass with `order`, `calls_per_step` and a `step`, and give it a
row in SAMPLERS; the tests measure its order.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from routing.flow.paths import (
    along,
    alpha,
    log_snr_half,
    reverse_transition,
    sigma,
    x0_from_velocity,
)

Velocity = Callable[[Tensor, Tensor, int], Tensor]
Noise = Callable[[int], Tensor]  # step -> standard normals, shaped as x
Batch = Float[Tensor, "batch *dims"]


@dataclass(frozen=True)
class Sampler:
    """The grid and the loop that all samplers share. `shift` > 1 spends more steps near noise."""

    num_steps: int
    shift: float = 1.0

    order: ClassVar[int]
    calls_per_step: ClassVar[int]
    is_stochastic: ClassVar[bool] = False

    def __post_init__(self):
        """Refuse a grid that is none."""
        if self.num_steps < 1:
            raise ValueError(f"sampler: num_steps must be >= 1, got {self.num_steps}: raise it")
        if not 0 < self.shift < math.inf:
            raise ValueError(f"sampler: shift must be > 0, got {self.shift}: 1 is the plain grid")

    @property
    def num_calls(self) -> int:
        """Evaluations of the velocity for one sample."""
        return self.num_steps * self.calls_per_step

    def times(self) -> Float64[Tensor, " points"]:
        """The num_steps + 1 times of the grid, from 1 down to 0, shifted."""
        t = torch.linspace(1, 0, self.num_steps + 1, dtype=torch.float64)
        # 1 + (shift - 1) t, written so that t = 1 stays exactly 1.
        return self.shift * t / (self.shift * t + (1 - t))

    def __call__(
        self,
        velocity: Velocity,
        x: Batch,
        times: Float[Tensor, " points"] | None = None,
        noise: Noise | None = None,
    ) -> Batch:
        """Carry `x` at times[0] (default: noise, t = 1) to times[-1] (default: data, t = 0).

        Raises ValueError unless `times` are num_steps + 1 numbers that fall within [0, 1].
        """
        times = self.times() if times is None else self._checked(times)
        for step, (s, t) in enumerate(pairwise(times.tolist())):

            def v(x, time, step=step):
                return velocity(x, x.new_full(x.shape[:1], time), step)

            x = self.step(v, x, s, t)
        return x

    def step(self, v: Callable[[Tensor, float], Tensor], x: Batch, s: float, t: float) -> Batch:
        """From `x` at time `s` to time `t`; `v(x, time)` is the velocity, one time for all.

        All that a one-step method has to write; a multistep method writes its own `__call__`.
        """
        raise NotImplementedError

    def _checked(self, times: Float[Tensor, " points"]) -> Float64[Tensor, " points"]:
        times = times.double()
        if len(times) != self.num_steps + 1:
            raise ValueError(
                f"sampler: times must hold num_steps + 1 = {self.num_steps + 1} numbers, "
                f"got {len(times)}: change one of the two"
            )
        if not (times.diff() < 0).all() or not 0 <= times[-1] < times[0] <= 1:
            raise ValueError(
                f"sampler: times must fall strictly within [1, 0], got {times.tolist()}: sort them"
            )
        return times


@dataclass(frozen=True)
class Euler(Sampler):
    """The explicit Euler method; on the linear path also DDIM and first-order DPM-Solver++."""

    order: ClassVar[int] = 1
    calls_per_step: ClassVar[int] = 1

    def step(self, v: Callable[[Tensor, float], Tensor], x: Batch, s: float, t: float) -> Batch:
        """One velocity, at the start."""
        return x + (t - s) * v(x, s)


@dataclass(frozen=True)
class Heun(Sampler):
    """The explicit trapezoidal rule (Karras et al. 2022, arXiv:2206.00364, algorithm 1).

    Departs from that algorithm in the last step, which is a full one as well: v, unlike the
    derivative there, is defined at t = 0, and an Euler step adds an error of its own.
    """

    order: ClassVar[int] = 2
    calls_per_step: ClassVar[int] = 2

    def step(self, v: Callable[[Tensor, float], Tensor], x: Batch, s: float, t: float) -> Batch:
        """The mean of the velocities at the start and at the end of an Euler step."""
        d = v(x, s)
        d_end = v(x + (t - s) * d, t)
        return x + (t - s) * (0.5 * (d + d_end))


@dataclass(frozen=True)
class RK4(Sampler):
    """The classical Runge-Kutta method, for references."""

    order: ClassVar[int] = 4
    calls_per_step: ClassVar[int] = 4

    def step(self, v: Callable[[Tensor, float], Tensor], x: Batch, s: float, t: float) -> Batch:
        """Start, twice the middle, end, with weights 1, 2, 2, 1."""
        h, middle = t - s, (s + t) / 2
        k1 = v(x, s)
        k2 = v(x + 0.5 * h * k1, middle)
        k3 = v(x + 0.5 * h * k2, middle)
        k4 = v(x + h * k3, t)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


@dataclass(frozen=True)
class DPMpp2M(Sampler):
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2), x_theta = x_s - s v.

        x_t = (sigma_t / sigma_s) x_s - alpha_t (e^-h - 1) D ,   h = lambda_t - lambda_s
        D   = (1 + 1 / 2r) x_theta(s) - 1 / 2r x_theta(s_prev) ,   r = h_prev / h

    No time is clipped. A step is of first order (D = x_theta) if there is no history, if the
    previous one began at t = 1 (h_prev = inf, 1 / r = 0), or if this one ends at t = 0 (h = inf,
    x_t = D).

    Order 2 where lambda is bounded. On a uniform grid over all of [1, 0] the error is of order
    N^-2 log N: i steps from either end the ratio r is off 1 by about 1 / i however fine the
    grid, so the slope that replaces d x_theta / d lambda is off by as much, and these local
    errors of size 1 / (i N^2) add up like a harmonic series. Measured on a Gaussian mixture, from
    one N to 2N: 1.4 at N = 32, 1.8 at 256, 1.86 at 2048, while error N^2 / log N settles.

    `history` says what x_theta(s_prev) is where the experts of a sample change: "mix" takes what
    the ensemble said then, although the difference now also holds the disagreement of the
    experts; "reset" takes a step of first order. Where a step could be of second order, "reset"
    asks `velocity.switched()`, after the call, for a bool [batch]: did the sample's set of experts
    change since the call before?
    """

    order: ClassVar[int] = 2
    calls_per_step: ClassVar[int] = 1

    history: str = "mix"

    def __post_init__(self):
        """Refuse an unknown rule for the history."""
        super().__post_init__()
        if self.history not in ("mix", "reset"):
            raise ValueError(
                f"dpmpp_2m: history must be 'mix' or 'reset', got {self.history!r}: write one"
            )

    def __call__(
        self,
        velocity: Velocity,
        x: Batch,
        times: Float[Tensor, " points"] | None = None,
        noise: Noise | None = None,
    ) -> Batch:
        """As `Sampler`; raises ValueError if "reset" cannot ask the velocity for switches."""
        if self.history == "reset" and not hasattr(velocity, "switched"):
            raise ValueError(
                "dpmpp_2m: history 'reset' needs a velocity with a method switched() -> bool "
                f"[batch], got {type(velocity).__name__}: add it or use history 'mix'"
            )
        times = self.times() if times is None else self._checked(times)
        a, sig, lam = (f(times).tolist() for f in (alpha, sigma, log_snr_half))
        grid = times.tolist()
        m1, h_prev = None, math.inf
        for step, (s, t) in enumerate(pairwise(range(len(grid)))):
            time = x.new_full(x.shape[:1], grid[s])
            m0 = x0_from_velocity(x, velocity(x, time, step), time)
            h = lam[t] - lam[s]
            D = m0
            if math.isfinite(h_prev) and math.isfinite(h):
                r = h_prev / h
                D = (1 + 1 / (2 * r)) * m0 - 1 / (2 * r) * m1
                if self.history == "reset":
                    switched = velocity.switched().reshape(-1, *[1] * (x.ndim - 1))
                    D = torch.where(switched, m0, D)
            x = sig[t] / sig[s] * x - a[t] * math.expm1(-h) * D
            m1, h_prev = m0, h
        return x


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Draws each state given the one before and x_0 as predicted there (`reverse_transition`).

        x_t = mean + std z ,   z = noise(step)

    The sampler of DDPM (Ho et al. 2020, arXiv:2006.11239, algorithm 2, with the smaller of the
    two variances) on the linear path. The first step from t = 1 keeps nothing of x but what v
    makes of it; the last, to t = 0, is x_0 as predicted, without noise.
    """

    order: ClassVar[int] = 1
    calls_per_step: ClassVar[int] = 1
    is_stochastic: ClassVar[bool] = True

    def __call__(
        self,
        velocity: Velocity,
        x: Batch,
        times: Float[Tensor, " points"] | None = None,
        noise: Noise | None = None,
    ) -> Batch:
        """As `Sampler`; raises ValueError without noise."""
        if noise is None:
            raise ValueError(
                "ancestral needs noise(step) -> standard normals like x, got none: give it or "
                "take a sampler that is not stochastic"
            )
        times = self.times() if times is None else self._checked(times)
        for step, (s, t) in enumerate(pairwise(times.tolist())):
            start, end = (x.new_full(x.shape[:1], time) for time in (s, t))
            mean, std = reverse_transition(x, velocity(x, start, step), start, end)
            x = mean + along(std, x) * noise(step)
        return x


SAMPLERS: dict[str, type[Sampler]] = {
    "euler": Euler,
    "heun": Heun,
    "rk4": RK4,
    "dpmpp_2m": DPMpp2M,
    "ancestral": Ancestral,
}
