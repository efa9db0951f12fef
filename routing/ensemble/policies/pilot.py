"""The pilot of a policy: inputs on held-out states, from which the policy's numbers are set.

Some policies need numbers that depend on the router and the experts. The threshold that meets a
compute budget depends on the router's posteriors; the disagreement at time t depends on the
experts. A pilot run evaluates both once, on held-out noised states, before any sample is drawn:

    required_pilot_fields(policy)           what the pilot must contain; empty for most policies
    policy = bind_pilot(policy, pilot)      the policy, and all policies nested in it, ready to use

A policy that needs a pilot inherits `NeedsPilot`, names the fields in `pilot_fields` and builds
the policy to use in `with_pilot(pilot)`. A policy that uses its parts at different times, as
`Switch` does, has a `with_pilot` that gives each part the pilot's states at its times.
"""

from dataclasses import dataclass, fields, replace
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from routing.ensemble.policies.base import (
    Carry,
    Policy,
    Probs,
    Uniform,
    WeightsAndCarry,
    has_reached,
)
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class Pilot:
    """Outputs of one arm's router and experts on held-out states; None where not available.

    `posteriors` are the router's on states noised to times `t`, uniform in [0, 1]. The bins of
    `disagreement` are equal parts of [0, 1], t = 1 in the last; an entry is the mean of
    ||v_i - v_j||^2 / dim over the states of its bin. Policies live on the device of these tensors.
    Raises ValueError if a time, posterior or disagreement is out of range.
    """

    t: Time | None = None
    posteriors: Probs | None = None
    disagreement: Float[Tensor, "bins experts experts"] | None = None

    def __post_init__(self):
        """Validate the values."""
        t, p, d = self.t, self.posteriors, self.disagreement
        if t is not None and not ((t >= 0) & (t <= 1)).all():
            low, high = t.min().item(), t.max().item()
            raise ValueError(f"pilot: t must be in [0, 1], got {low} to {high}: 1 is noise")
        if p is not None and not ((p >= 0).all() and ((p.sum(dim=1) - 1).abs() < 1e-4).all()):
            raise ValueError(
                "pilot: posteriors must be >= 0 and sum to 1, got rows that do not: divide each "
                "row by its sum"
            )
        if d is not None and not (d.isfinite() & (d >= 0)).all():
            bad = (~(d.isfinite() & (d >= 0))).flatten(1).any(dim=1).nonzero()[:, 0].tolist()
            raise ValueError(
                f"pilot: disagreement must be finite and >= 0, got bins {bad} that are not: "
                f"take fewer bins or more states"
            )

    def require(self, policy: str, *names: str) -> tuple:
        """Return the fields of these names. Raises ValueError for `policy` if one is None."""
        for name in names:
            if getattr(self, name) is None:
                raise ValueError(f"{policy}: needs the pilot's {name}, got none: run the probe")
        return tuple(getattr(self, name) for name in names)

    def split(self, t_switch: float) -> "tuple[Pilot, Pilot]":
        """Return the pilots of the states at t > t_switch and at t <= t_switch."""
        if self.t is None:
            return self, self
        is_late = has_reached(self.t, t_switch)
        return self._rows(~is_late), self._rows(is_late)

    def _rows(self, chosen: Bool[Tensor, " batch"]) -> "Pilot":
        p = self.posteriors
        return replace(self, t=self.t[chosen], posteriors=None if p is None else p[chosen])


class NeedsPilot(Policy):
    """A policy that must be bound to a pilot before it can be called."""

    pilot_fields: ClassVar[frozenset[str]]  # of "posteriors" (which implies t), "disagreement"

    def with_pilot(self, pilot: Pilot) -> Policy:
        """Return the policy to use. Raises ValueError if the pilot lacks one of the fields."""
        raise NotImplementedError

    def __call__(self, p: Probs, t: Time, u: Uniform, carry: Carry) -> WeightsAndCarry:
        """Raise ValueError: the policy is not bound."""
        needed = " and ".join(sorted(self.pilot_fields))
        raise ValueError(
            f"policy must be bound to a pilot with {needed}, got {self} unbound: call "
            "bind_pilot first"
        )


def required_pilot_fields(policy: Policy) -> frozenset[str]:
    """Return the fields ("posteriors", "disagreement") that `policy` and its parts need."""
    own = policy.pilot_fields if isinstance(policy, NeedsPilot) else frozenset()
    return own.union(*map(required_pilot_fields, _parts(policy).values()))


def bind_pilot(policy: Policy, pilot: Pilot) -> Policy:
    """Return the policy with all that it and its parts need from the pilot.

    This is `policy` itself if nothing is needed. Raises ValueError if the pilot lacks a field.
    """
    if not required_pilot_fields(policy):
        return policy
    if hasattr(policy, "with_pilot"):
        return policy.with_pilot(pilot)
    parts = _parts(policy).items()
    return replace(policy, **{name: bind_pilot(part, pilot) for name, part in parts})


def _parts(policy: Policy) -> dict[str, Policy]:
    """Return the policies among the options of `policy`."""
    options = {field.name: getattr(policy, field.name) for field in fields(policy)}
    return {name: option for name, option in options.items() if isinstance(option, Policy)}
