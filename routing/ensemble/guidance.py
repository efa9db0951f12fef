"""Classifier-free guidance of an ensemble: two branches, with separate or shared weights.

The conditional and the null (unconditional) velocity of the ensemble are sums over the experts,

    U_c = sum_k p(k | x_t, t, c) v_k(x_t, t | c) ,   U_0 = sum_k p(k | x_t, t) v_k(x_t, t)

with DIFFERENT weights, and guidance follows  U = U_0 + scale (U_c - U_0)  (Ho & Salimans 2022,
arXiv:2207.12598, with scale = 1 + w of their eq. 6).

    none          U = U_0 : unconditional samples
    conditional   U = U_c : conditional samples without guidance, scale 1
    separate      each branch has its own posterior, policy and carries; the random numbers are
                  the same in both
    shared        both branches have the weights of the null branch:
                  U = sum_k w_k (v_k + scale (v_k(c) - v_k)) ,  w from p(k | x_t, t). This is the
                  guidance of Paris (Jiang et al. 2025, arXiv:2510.03434), whose router has no text
                  input. With exact experts and posteriors it differs from `separate` by
                  scale sum_k (p(k | x_t, t) - p(k | x_t, t, c)) v_k(x_t, t | c)

`guidance.field(make_field, condition)` returns the velocity field of one batch;
`make_field(condition or None)` must return a new RoutedField of a branch. The result is used as a
RoutedField. Its trace is that of the conditional branch; the null branch of `separate` has the
trace `null_posteriors` and `null_weights`. Routers observe U. To add a kind of guidance, write a
frozen dataclass with `field` and give it a row in GUIDANCE.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.ensemble.routed_field import RoutedField
from routing.flow.conditions import Condition
from routing.flow.paths import Time

X = Float[Tensor, "batch *dims"]
MakeField = Callable[[Condition | None], RoutedField]


class SeparateField:
    """U_0 + scale (U_c - U_0); the branches share x, t and U only."""

    def __init__(self, null: RoutedField, conditional: RoutedField, scale: float):
        self.null, self.conditional, self.scale = null, conditional, scale
        null.keep_states = False  # they equal those of the conditional branch
        traced = conditional  # the lists themselves, which grow with the trajectory
        self.steps, self.times, self.states = traced.steps, traced.times, traced.states
        self.posteriors, self.weights = traced.posteriors, traced.weights
        self.null_posteriors, self.null_weights = null.posteriors, null.weights

    def __call__(self, x: X, t: Time, step: int) -> X:
        """Return the guided velocity, which both routers observe; errors as of RoutedField."""
        v = self.null.velocity(x, t, step)
        v = v + self.scale * (self.conditional.velocity(x, t, step) - v)
        self.null.observe(x, t, v)
        self.conditional.observe(x, t, v)
        return v

    @property
    def expert_evaluations(self) -> Int[Tensor, " experts"]:
        """The sum over both branches."""
        return self.null.expert_evaluations + self.conditional.expert_evaluations

    @property
    def router_evaluations(self) -> int:
        """The sum over both branches."""
        return self.null.router_evaluations + self.conditional.router_evaluations

    def expert_set_changed(self) -> Bool[Tensor, " batch"]:
        """Return whether the set of experts of a sample has changed in one of the branches."""
        return self.null.expert_set_changed() | self.conditional.expert_set_changed()


class SharedField:
    """sum_k w_k (v_k + scale (v_k(c) - v_k)), w of the null branch; `field` is that branch."""

    def __init__(self, field: RoutedField, condition: Condition, scale: float):
        self.field, self.condition, self.scale = field, condition, scale
        self.steps, self.times, self.states = field.steps, field.times, field.states
        self.posteriors, self.weights = field.posteriors, field.weights
        # At scale 1 the null velocities cancel; they are needed only by a router that reads them.
        self.evaluates_null = scale != 1 or field.router.reads is not None

    def __call__(self, x: X, t: Time, step: int) -> X:
        """Return the guided velocity, which the router observes; errors as of RoutedField."""
        w = self.field.routing_weights(x, t, step)
        v = self.field.weighted_velocity(w, x, t, step, self.condition)
        if self.evaluates_null:
            v_null = self.field.velocity_with_weights(w, x, t, step)
            v = v_null + self.scale * (v - v_null)
        self.field.observe(x, t, v)
        return v

    @property
    def expert_evaluations(self) -> Int[Tensor, " experts"]:
        """The sum over both branches."""
        return self.field.expert_evaluations

    @property
    def router_evaluations(self) -> int:
        """One per sample and call: the router is evaluated once for both branches."""
        return self.field.router_evaluations

    def expert_set_changed(self) -> Bool[Tensor, " batch"]:
        """Return whether the set of experts of a sample has changed."""
        return self.field.expert_set_changed()


VelocityField = RoutedField | SeparateField | SharedField


@runtime_checkable
class Guidance(Protocol):
    """A kind of guidance: how the branches are combined."""

    is_conditional: ClassVar[bool] = True  # needs a condition for every sample

    def field(self, make_field: MakeField, condition: Condition | None) -> VelocityField:
        """Return the velocity field of one batch.

        Raises ValueError if a condition is needed and there is none.
        """


@dataclass(frozen=True)
class Unguided(Guidance):
    """The null branch alone: unconditional samples."""

    is_conditional: ClassVar[bool] = False

    def field(self, make_field: MakeField, condition: Condition | None) -> RoutedField:
        """Return the null branch, whatever the condition."""
        return make_field(None)


@dataclass(frozen=True)
class Conditional(Guidance):
    """The conditional branch alone: conditional samples without guidance."""

    def field(self, make_field: MakeField, condition: Condition | None) -> RoutedField:
        """Return the conditional branch."""
        return make_field(require_condition(condition, "conditional"))


@dataclass(frozen=True)
class Separate(Guidance):
    """Two branches with a posterior each; `scale` 0 is `none`, 1 `conditional`, more is guided."""

    scale: float

    def __post_init__(self):
        """Validate the options."""
        check_scale(self.scale, "separate")

    def field(
        self, make_field: MakeField, condition: Condition | None
    ) -> RoutedField | SeparateField:
        """Return the field of both branches, or of the one that scale 0 or 1 leaves."""
        condition = require_condition(condition, "separate")
        if self.scale in (0, 1):
            return make_field(condition if self.scale == 1 else None)
        return SeparateField(make_field(None), make_field(condition), self.scale)


@dataclass(frozen=True)
class Shared(Guidance):
    """Both branches with the null branch's weights; `scale` 0 is `none`, 1 not `conditional`."""

    scale: float

    def __post_init__(self):
        """Validate the options."""
        check_scale(self.scale, "shared")

    def field(
        self, make_field: MakeField, condition: Condition | None
    ) -> RoutedField | SharedField:
        """Return the field of both branches, or the null branch if the scale is 0."""
        condition = require_condition(condition, "shared")
        if self.scale == 0:
            return make_field(None)
        return SharedField(make_field(None), condition, self.scale)


GUIDANCE: dict[str, type[Guidance]] = {
    "none": Unguided,
    "conditional": Conditional,
    "separate": Separate,
    "shared": Shared,
}


def require_condition(condition: Condition | None, name: str) -> Condition:
    """Return the condition. Raises ValueError if it is None."""
    if condition is None:
        raise ValueError(f"guidance {name} needs a condition per sample, got none: choose 'none'")
    return condition


def check_scale(scale: float, name: str) -> None:
    """Raise ValueError unless the scale is finite and >= 0."""
    if not 0 <= scale < math.inf:
        raise ValueError(f"guidance {name}: scale must be finite and >= 0, got {scale}: 0 is none")
