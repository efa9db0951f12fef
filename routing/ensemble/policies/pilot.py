"""What a policy must know of the router and the experts before it can speak: the pilot.

Some policies hold a number that means nothing by itself: the threshold that meets a compute
budget depends on the router's posteriors, and how much the experts disagree at time t only the
experts can say. Both are read once from held-out noised states and not from the trajectories:

    policy = bind(policy, pilot)        the policy that speaks, with all that is nested in it
    wants(policy)                       what the pilot must hold for it; empty for most

A policy in need of binding inherits `Unbound`, names what it wants and has `bound(pilot)`. A
policy that gives each of its parts a share of the time splits the pilot between them, in a `bound`
of its own.
"""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from routing.ensemble.policies.base import Answer, Carry, Policy, Probs, Uniform, reached
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class Pilot:
    """What is known of one arm's router and experts before it samples; None is unknown.

    `posteriors` are the router's on states noised to times `t`, uniform in [0, 1]. The bins of
    `disagreement` are equal parts of [0, 1], t = 1 in the last; an entry is the mean of
    ||v_i - v_j||^2 / dim over the states of its bin. Policies live where these tensors live.
    Raises ValueError for what is no time, posterior or disagreement.
    """

    t: Time | None = None
    posteriors: Probs | None = None
    disagreement: Float[Tensor, "bins experts experts"] | None = None

    def __post_init__(self):
        t, p, d = self.t, self.posteriors, self.disagreement
        if t is not None and not ((t >= 0) & (t <= 1)).all():
            low, high = t.min().item(), t.max().item()
            raise ValueError(f"pilot: t must be in [0, 1], got {low} to {high}: 1 is noise")
        if p is not None and not ((p >= 0).all() and ((p.sum(dim=1) - 1).abs() < 1e-4).all()):
            raise ValueError("pilot: posteriors must be >= 0 and sum to 1, got rows that do not")
        if d is not None and not (d.isfinite() & (d >= 0)).all():
            bad = (~(d.isfinite() & (d >= 0))).flatten(1).any(dim=1).nonzero()[:, 0].tolist()
            raise ValueError(
                f"pilot: disagreement must be finite and >= 0, got bins {bad} that are not: "
                f"take fewer bins or more states"
            )

    def need(self, policy: str, *names: str) -> tuple:
        """The parts of these names. Raises ValueError for `policy` if one is missing."""
        for name in names:
            if getattr(self, name) is None:
                raise ValueError(f"{policy}: needs the pilot's {name}, got none: run the probe")
        return tuple(getattr(self, name) for name in names)

    def split(self, t_switch: float) -> "tuple[Pilot, Pilot]":
        """The pilots of what speaks while t > t_switch, and of what speaks from there down."""
        if self.t is None:
            return self, self
        is_late = reached(self.t, t_switch)
        return self._rows(~is_late), self._rows(is_late)

    def _rows(self, chosen: Bool[Tensor, " batch"]) -> "Pilot":
        p = self.posteriors
        return replace(self, t=self.t[chosen], posteriors=None if p is None else p[chosen])


class Unbound(Policy):
    """A policy that cannot speak until `bind` has made another one of it."""

    wants: ClassVar[frozenset[str]]  # of "posteriors" (and their t), "disagreement"

    def bound(self, pilot: Pilot) -> Policy:
        """The policy that speaks. Raises ValueError if the pilot lacks what it wants."""
        raise NotImplementedError

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> Answer:
        """Raises ValueError."""
        wanted = " and ".join(sorted(self.wants))
        raise ValueError(f"policy must be bound to {wanted}, got {self} unbound: call bind first")


def wants(policy: Policy) -> frozenset[str]:
    """What `policy` and those nested in it read from a pilot: "posteriors", "disagreement"."""
    own = policy.wants if isinstance(policy, Unbound) else frozenset()
    return own.union(*map(wants, _parts(policy).values()))


def bind(policy: Policy, pilot: Pilot) -> Policy:
    """The policy that speaks; `policy` itself where neither it nor its parts want anything."""
    if not wants(policy):
        return policy
    if hasattr(policy, "bound"):
        return policy.bound(pilot)
    return replace(policy, **{name: bind(part, pilot) for name, part in _parts(policy).items()})


def _parts(policy: Policy) -> dict[str, Policy]:
    """The policies among the options of `policy`."""
    options = {field.name: getattr(policy, field.name) for field in fields(policy)}
    return {name: option for name, option in options.items() if isinstance(option, Policy)}
