"""Routing policies: which experts speak at time t, and how loudly.

A policy turns the router's posterior  p[b, k] = p(expert k | x_t[b], t)  into weights
w[b, k] >= 0 with rows summing to 1. The ensemble velocity is  v = sum_k w_k v_k ; with
w = p and exact experts it is the velocity of one model trained on all the data
(McAllister et al. 2025, arXiv:2501.05450). An expert with w = 0 is never evaluated, so
the support of w is also the bill.

    (w, carry) = policy(p, t, u, carry)

Policies are pure functions of p, of the time, of one number u in [0, 1) that belongs to sample
and step, and of their own memory `carry`: no generator, no sight of x_t or of other rows. The
carry is None at the first call of a trajectory; else a tuple of tensors (or carries) whose first
axis is the batch, where a row of zeros is a sample of which nothing is remembered yet. To add a
policy, write a frozen dataclass with `__call__` and give it a row in POLICIES; the tests find it.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.paths import Time

Probs = Float[Tensor, "batch experts"]  # >= 0, rows sum to 1
Uniform = Float[Tensor, " batch"]  # in [0, 1): the sample's random number of this step
Carry = tuple | None
Answer = tuple[Probs, Carry]  # weights, and the memory after this call


@runtime_checkable
class Policy(Protocol):
    """What a policy offers. Those that remember nothing inherit the two defaults."""

    least_experts = 1  # the smallest number of experts for which the policy is defined

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Weights and the memory after this call; `p` is None only where it is not needed."""

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """False where the weights at time `t` do not depend on p, so nobody need compute it."""
        return True


@dataclass(frozen=True)
class Full(Policy):
    """All experts, w = p."""

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """As it came."""
        return p, carry


@dataclass(frozen=True)
class TopK(Policy):
    """The k most probable experts, renormalised. Ties go to the lower expert index."""

    k: int = 1

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"top_k: k must be >= 1, got k={self.k}: raise it")

    @property
    def least_experts(self) -> int:
        """k of them must exist."""
        return self.k

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Raises ValueError if there are fewer than k experts."""
        if self.k > p.shape[1]:
            raise ValueError(f"top_k: k must be in 1..{p.shape[1]}, got k={self.k}: lower it")
        chosen = torch.zeros_like(p, dtype=torch.bool)
        return renormalised(p, chosen.scatter(1, ranking(p)[:, : self.k], True)), carry


@dataclass(frozen=True)
class Nucleus(Policy):
    """The fewest most probable experts whose mass reaches `mass`, renormalised.

    The expert that crosses the threshold is kept; mass = 1 keeps every expert with p > 0. Ties go
    to the lower expert index. Source: top-p sampling, Holtzman et al. 2020, arXiv:1904.09751.
    """

    mass: float = 0.9

    def __post_init__(self):
        if not 0 < self.mass <= 1:
            raise ValueError(f"nucleus: mass must be in (0, 1], got {self.mass}: 1 keeps all")

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Weights on the nucleus."""
        order = ranking(p)
        # Those above an expert hold less than `mass` if it and those below hold above 1 - mass, a
        # sum exact also for mass = 1. With slack for rounding: 4 of 5 equal shares reach 0.8.
        tail = p.gather(1, order).flip(1).cumsum(dim=1).flip(1)
        kept = tail > (1 - self.mass) * (1 + 4 * p.shape[1] * torch.finfo(p.dtype).eps)
        kept[:, 0] = True  # for a mass below the rounding of the row sum
        return renormalised(p, torch.zeros_like(kept).scatter(1, order, kept)), carry


@dataclass(frozen=True)
class Threshold(Policy):
    """All experts with p >= min_p, at least the most probable one, renormalised."""

    min_p: float = 0.1

    def __post_init__(self):
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"threshold: min_p must be in [0, 1], got {self.min_p}: 0 keeps all")

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Weights on the experts above the threshold."""
        return renormalised(p, (p >= self.min_p).scatter(1, ranking(p)[:, :1], True)), carry


@dataclass(frozen=True)
class Sample(Policy):
    """One expert drawn from p anew at every call: unbiased, at one evaluation per call."""

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """One-hot rows."""
        return drawn(p, u), carry


@dataclass(frozen=True)
class Sticky(Policy):
    """One expert drawn from p at the first call with t <= t_star and kept; `before` until then.

    With t_star = 1: one evaluation per call and one router call in all. From the true prior with
    perfect experts it is exact, the mixture of the experts' own samples.
    """

    t_star: float = 1.0
    before: Policy = Full()

    def __post_init__(self):
        if not 0 <= self.t_star <= 1:
            raise ValueError(f"sticky: t_star must be in [0, 1], got {self.t_star}: 1 is noise")

    @property
    def least_experts(self) -> int:
        """What `before` needs."""
        return self.before.least_experts

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> Answer:
        """The carry is (one-hot rows of the experts drawn, memory of `before`)."""
        kept, memory = (torch.zeros_like(p), None) if carry is None else carry
        is_due = reached(t, self.t_star) & ~kept.any(dim=1)
        kept = torch.where(is_due[:, None], drawn(p, u), kept) if is_due.any() else kept
        is_kept = kept.any(dim=1)
        if is_kept.all():
            return kept, (kept, memory)
        w, memory = self.before(p, t, u, memory)
        return torch.where(is_kept[:, None], kept, w), (kept, memory)

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """False once every sample has its expert."""
        if carry is None:
            return True
        (kept, memory), is_due = carry, bool(reached(t, self.t_star))
        is_open = not kept.any(dim=1).all()
        return is_open and (is_due or self.before.needs_posterior(t, memory))


@dataclass(frozen=True)
class Switch(Policy):
    """`early` while t > t_switch (noise), `late` from t_switch down (data)."""

    early: Policy
    late: Policy
    t_switch: float = 0.5

    def __post_init__(self):
        if not 0 <= self.t_switch <= 1:
            raise ValueError(f"switch: t_switch must be in [0, 1], got {self.t_switch}: 0 is data")

    @property
    def least_experts(self) -> int:
        """The larger need of the two parts."""
        return max(self.early.least_experts, self.late.least_experts)

    def __call__(self, p: Probs | None, t: Time, u: Uniform, carry: Carry) -> Answer:
        """The carry is the memories of the two parts."""
        early, late = carry or (None, None)
        is_late = reached(t, self.t_switch)
        if is_late.all():
            w, late = self.late(p, t, u, late)
            return w, (early, late)
        w, new_early = self.early(p, t, u, early)
        if not is_late.any():
            return w, (new_early, late)
        w_late, new_late = self.late(p, t, u, late)
        memories = remembered(~is_late, new_early, early), remembered(is_late, new_late, late)
        return torch.where(is_late[:, None], w_late, w), memories

    def needs_posterior(self, t: float, carry: Carry) -> bool:
        """Whether the part that speaks at `t` does."""
        early, late = carry or (None, None)
        part, memory = (self.late, late) if reached(t, self.t_switch) else (self.early, early)
        return part.needs_posterior(t, memory)


POLICIES: dict[str, type] = {
    "full": Full,
    "top_k": TopK,
    "nucleus": Nucleus,
    "threshold": Threshold,
    "sample": Sample,
    "sticky": Sticky,
    "switch": Switch,
}


def ranking(p: Probs) -> Int[Tensor, "batch experts"]:
    """Experts from the most to the least probable; of equal ones the lower index comes first."""
    # Ties are the rule at t = 1, where p is the cluster prior; topk() leaves them open.
    return p.argsort(dim=1, descending=True, stable=True)


def renormalised(p: Probs, chosen: Bool[Tensor, "batch experts"]) -> Probs:
    """`p` on the chosen experts, which hold the most probable one, divided by its sum there."""
    kept = torch.where(chosen, p, 0.0)
    return kept / kept.sum(dim=1, keepdim=True)  # sum >= 1 / num_experts: no epsilon


def drawn(p: Probs, u: Uniform) -> Probs:
    """One-hot rows: the expert k with  cdf[k-1] <= u < cdf[k] ; never one with p = 0."""
    # In double and times the total, so that u < total: the cdf at the last expert with p > 0.
    cdf = p.cumsum(dim=1)
    index = (cdf <= u.double()[:, None] * cdf[:, -1:]).sum(dim=1, keepdim=True)
    return torch.zeros_like(p).scatter(1, index, 1.0)


def reached(t: float | Float[Tensor, "*batch"], threshold: float) -> Bool[Tensor, "*batch"]:
    """Whether falling time is at `threshold` or past it; in float32, beyond it grids differ."""
    return torch.as_tensor(t, dtype=torch.float32) <= threshold


def remembered(is_live: Bool[Tensor, " batch"], new, old):
    """The carry `new` of the live rows and `old` (zeros where there is none) of the others."""
    if isinstance(new, tuple):
        old = old or (None,) * len(new)
        return tuple(remembered(is_live, *pair) for pair in zip(new, old, strict=True))
    if new is None:
        return None
    old = torch.zeros_like(new) if old is None else old
    return torch.where(is_live.reshape(-1, *[1] * (new.ndim - 1)), new, old)
