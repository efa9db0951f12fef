"""Samplers: ODE and SDE solvers that integrate from t = 1 (noise) to t = 0 (data).

A step goes from time s down to time t < s. `velocity(x, t, step) -> v` is any callable; x is
[batch *dims], t is [batch] in the dtype of x, and `step` is the index of the step. All stages of
one step have the same index, so that random numbers can be drawn once per step.

    euler      x_t = x_s + (t - s) v(x_s, s)                                            order 1
    heun       x_t = x_s + (t - s) (v(x_s, s) + v(x', t)) / 2 ,  x' the Euler step      order 2
    rk4        the classical Runge-Kutta method, used as a reference                    order 4
    dpmpp_2m   DPM-Solver++(2M): two-step in lambda = log(alpha_t / sigma_t)            order 2
    ancestral  x_t ~ q(x_t | x_s, x_0 = x_s - s v(x_s, s)), drawn with noise      weak order 1

The last step is like the others: Heun ends with a full step, which evaluates v at t = 0. The grid
is uniform in t before the shift of flow matching,  t' = shift t / (1 + (shift - 1) t)  (Esser et
al. 2024, arXiv:2403.03206, eq. 23), and contains 1 and 0 exactly. Arithmetic on x is elementwise
with the same float64 coefficients for all rows, so a sample does not depend on its batch.
Gradients flow through all steps; use torch.no_grad() to save memory.

A stochastic sampler has `is_stochastic` set, and its `order` is the weak order, that of the
distribution of the samples. Its noise comes from `noise(step)`, standard normals of the shape of
x; the caller gives each sample its own random stream. The other samplers ignore `noise`.

To add a sampler, write a frozen dataclass with `order`, `evaluations_per_step` and `step`, and
give it a row in SAMPLERS. The tests measure its order.
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
    alpha,
    append_dims,
    half_log_snr,
    reverse_transition,
    sigma,
    x0_from_velocity,
)

Velocity = Callable[[Tensor, Tensor, int], Tensor]
Noise = Callable[[int], Tensor]  # step -> standard normals, shaped as x
Batch = Float[Tensor, "batch *dims"]


@dataclass(frozen=True)
class Sampler:
    """Base class: the time grid and the loop over steps; `shift` > 1 refines it near noise."""

    num_steps: int
    shift: float = 1.0

    order: ClassVar[int]
    evaluations_per_step: ClassVar[int]
    is_stochastic: ClassVar[bool] = False

    def __post_init__(self):
        """Validate the options."""
        if self.num_steps < 1:
            raise ValueError(f"sampler: num_steps must be >= 1, got {self.num_steps}: raise it")
        if not 0 < self.shift < math.inf:
            raise ValueError(
                f"sampler: shift must be > 0, got {self.shift}: 1 is the uniform grid"
            )

    @property
    def num_evaluations(self) -> int:
        """Number of evaluations of the velocity per sample (NFE)."""
        return self.num_steps * self.evaluations_per_step

    def times(self) -> Float64[Tensor, " points"]:
        """Return the num_steps + 1 shifted times of the grid, from 1 down to 0."""
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
        """Integrate `x` from times[0] (default: t = 1, noise) to times[-1] (default: t = 0, data).

        Raises ValueError unless `times` holds num_steps + 1 strictly decreasing numbers in [0, 1].
        """
        times = self.times() if times is None else self._checked(times)
        for step, (s, t) in enumerate(pairwise(times.tolist())):

            def v(x, time, step=step):
                return velocity(x, x.new_full(x.shape[:1], time), step)

            x = self.step(v, x, s, t)
        return x

    def step(self, v: Callable[[Tensor, float], Tensor], x: Batch, s: float, t: float) -> Batch:
        """Return the state at time `t` from `x` at time `s`; `v(x, time)` is the velocity.

        A one-step method implements this. A multistep method overrides `__call__` instead.
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
                f"sampler: times must decrease strictly in [0, 1], got {times.tolist()}: sort them"
            )
        return times


@dataclass(frozen=True)
class Euler(Sampler):
    """The explicit Euler method; on the linear path also DDIM and first-order DPM-Solver++."""

    order: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 1

    def step(self, v: Callable[[Tensor, float], Tensor], x: Batch, s: float, t: float) -> Batch:
        """Return x_t from the velocity at the start of the step."""
        return x + (t - s) * v(x, s)


@dataclass(frozen=True)
class Heun(Sampler):
    """The explicit trapezoidal rule (Karras et al. 2022, arXiv:2206.00364, algorithm 1).

    Departs from that algorithm in the last step, which is a full Heun step too: v is defined at
    t = 0, unlike the derivative there, and an Euler step would add an error of its own.
    """

    order: ClassVar[int] = 2
    evaluations_per_step: ClassVar[int] = 2

    def step(self, v: Callable[[Tensor, float], Tensor], x: Batch, s: float, t: float) -> Batch:
        """Return x_t from the mean of the velocities at both ends of an Euler step."""
        d = v(x, s)
        d_end = v(x + (t - s) * d, t)
        return x + (t - s) * (0.5 * (d + d_end))


@dataclass(frozen=True)
class RK4(Sampler):
    """The classical Runge-Kutta method, for reference solutions."""

    order: ClassVar[int] = 4
    evaluations_per_step: ClassVar[int] = 4

    def step(self, v: Callable[[Tensor, float], Tensor], x: Batch, s: float, t: float) -> Batch:
        """Return x_t from velocities at the start, twice the middle, and the end."""
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

    No time is clipped. A step is of first order (D = x_theta) if it is the first one, if the
    previous one began at t = 1 (h_prev = inf, 1 / r = 0), or if it ends at t = 0 (h = inf,
    x_t = D).

    The order is 2 where lambda is bounded. On a uniform grid over all of [1, 0] the error is of
    order N^-2 log N. At i steps from either end the ratio r differs from 1 by about 1 / i,
    however fine the grid is. The slope that replaces d x_theta / d lambda has a relative error of
    the same size, and the local errors of size 1 / (i N^2) add up like a harmonic series. Order
    measured on a Gaussian mixture between N and 2N: 1.4 at N = 32, 1.8 at 256, 1.86 at 2048,
    while error N^2 / log N converges.

    `history` selects x_theta(s_prev) for a sample whose set of experts has changed since the
    previous step. "mix" uses the prediction of the previous set, so that the difference also
    contains the disagreement of the experts. "reset" takes a first-order step. For steps that
    could be of second order, "reset" calls `velocity.expert_set_changed()` after the velocity. It
    must return a bool [batch]: whether the sample's set of experts has changed since the previous
    call.
    """

    order: ClassVar[int] = 2
    evaluations_per_step: ClassVar[int] = 1

    history: str = "mix"

    def __post_init__(self):
        """Validate the options."""
        super().__post_init__()
        if self.history not in ("mix", "reset"):
            raise ValueError(
                f"dpmpp_2m: history must be 'mix' or 'reset', got {self.history!r}: choose one"
            )

    def __call__(
        self,
        velocity: Velocity,
        x: Batch,
        times: Float[Tensor, " points"] | None = None,
        noise: Noise | None = None,
    ) -> Batch:
        """See `Sampler`. Raises ValueError for "reset" without `velocity.expert_set_changed`."""
        if self.history == "reset" and not hasattr(velocity, "expert_set_changed"):
            raise ValueError(
                "dpmpp_2m: history 'reset' needs a velocity with a method expert_set_changed() -> "
                f"bool [batch], got {type(velocity).__name__}: add it or use history 'mix'"
            )
        times = self.times() if times is None else self._checked(times)
        a, sig, lam = (f(times).tolist() for f in (alpha, sigma, half_log_snr))
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
                    switched = velocity.expert_set_changed().reshape(-1, *[1] * (x.ndim - 1))
                    D = torch.where(switched, m0, D)
            x = sig[t] / sig[s] * x - a[t] * math.expm1(-h) * D
            m1, h_prev = m0, h
        return x


@dataclass(frozen=True)
class Ancestral(Sampler):
    """Ancestral sampling: draws x_t given x_s and the prediction of x_0 (`reverse_transition`).

        x_t = mean + std z ,   z = noise(step)

    The sampler of DDPM (Ho et al. 2020, arXiv:2006.11239, algorithm 2, with the smaller of the
    two variances) on the linear path. The first step, from t = 1, depends on x through v only. The
    last, to t = 0, returns the predicted x_0 without noise.
    """

    order: ClassVar[int] = 1
    evaluations_per_step: ClassVar[int] = 1
    is_stochastic: ClassVar[bool] = True

    def __call__(
        self,
        velocity: Velocity,
        x: Batch,
        times: Float[Tensor, " points"] | None = None,
        noise: Noise | None = None,
    ) -> Batch:
        """See `Sampler`. Raises ValueError without `noise`."""
        if noise is None:
            raise ValueError(
                "ancestral needs noise(step) -> standard normals like x, got none: give it or "
                "use a deterministic sampler"
            )
        times = self.times() if times is None else self._checked(times)
        for step, (s, t) in enumerate(pairwise(times.tolist())):
            start, end = (x.new_full(x.shape[:1], time) for time in (s, t))
            mean, std = reverse_transition(x, velocity(x, start, step), start, end)
            x = mean + append_dims(std, x) * noise(step)
        return x


SAMPLERS: dict[str, type[Sampler]] = {
    "euler": Euler,
    "heun": Heun,
    "rk4": RK4,
    "dpmpp_2m": DPMpp2M,
    "ancestral": Ancestral,
}
