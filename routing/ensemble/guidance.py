"""Classifier-free guidance of an ensemble: two branches, and the question who weighs them.

The conditional and the null (unconditional) velocity of the whole are both sums over the experts,

    U_c = sum_k p(k | x_t, t, c) v_k(x_t, t | c) ,   U_0 = sum_k p(k | x_t, t) v_k(x_t, t)

with DIFFERENT weights, and guidance follows  U = U_0 + scale (U_c - U_0)  (Ho & Salimans 2022,
arXiv:2207.12598, with scale = 1 + w of their eq. 6).

    none          U = U_0 : nothing is asked for
    conditional   U = U_c : no guidance, scale 1
    separate      each branch its own posterior, policy and memory, from the same random numbers
    shared        the null branch weighs both:  U = sum_k w_k (v_k + scale (v_k(c) - v_k)) ,
                  w from p(k | x_t, t). So does Paris (Jiang et al. 2025, arXiv:2510.03434), whose
                  router is not told the text. With exact experts and posteriors it differs from
                  `separate` by  scale sum_k (p(k | x_t, t) - p(k | x_t, t, c)) v_k(x_t, t | c)

`choice.field(make, condition)` makes the velocity of one batch, `make(condition or None)` being a
new RoutedField of a branch. It is used as a RoutedField; its trace is that of the conditional
branch, and where a null branch has weights of its own these are in `null_posteriors` and
`null_weights`. Routers are told U. To add a kind, write a frozen dataclass with `field` and give
it a row in GUIDANCE.
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
Make = Callable[[Condition | None], RoutedField]


class SeparateField:
    """U_0 + scale (U_c - U_0), the branches having nothing in common but x, t and U."""

    def __init__(self, null: RoutedField, conditional: RoutedField, scale: float):
        self.null, self.conditional, self.scale = null, conditional, scale
        null.keep_states = False  # they are those of the other branch
        traced = conditional  # the lists themselves, which grow with the trajectory
        self.steps, self.times, self.states = traced.steps, traced.times, traced.states
        self.posteriors, self.weights = traced.posteriors, traced.weights
        self.null_posteriors, self.null_weights = null.posteriors, null.weights

    def __call__(self, x: X, t: Time, step: int) -> X:
        """The guided velocity, told to both routers; errors as of RoutedField."""
        v = self.null.speak(x, t, step)
        v = v + self.scale * (self.conditional.speak(x, t, step) - v)
        self.null.observe(x, t, v)
        self.conditional.observe(x, t, v)
        return v

    @property
    def expert_evaluations(self) -> Int[Tensor, " experts"]:
        """Of both branches."""
        return self.null.expert_evaluations + self.conditional.expert_evaluations

    @property
    def router_evaluations(self) -> int:
        """Of both branches."""
        return self.null.router_evaluations + self.conditional.router_evaluations

    def switched(self) -> Bool[Tensor, " batch"]:
        """Whether the set of experts of a sample has changed in one of the branches."""
        return self.null.switched() | self.conditional.switched()


class SharedField:
    """sum_k w_k (v_k + scale (v_k(c) - v_k)), w of the null branch; `field` is that branch."""

    def __init__(self, field: RoutedField, condition: Condition, scale: float):
        self.field, self.condition, self.scale = field, condition, scale
        self.steps, self.times, self.states = field.steps, field.times, field.states
        self.posteriors, self.weights = field.posteriors, field.weights
        # With scale 1 the null experts are asked only if the router has to know what they say.
        self.is_null_asked = scale != 1 or field.router.reads is not None

    def __call__(self, x: X, t: Time, step: int) -> X:
        """The guided velocity, told to the router; errors as of RoutedField."""
        w = self.field.decide(x, t, step)
        v = self.field.weighed(w, x, t, step, self.condition)
        if self.is_null_asked:
            v_null = self.field.combined(w, x, t, step)
            v = v_null + self.scale * (v - v_null)
        self.field.observe(x, t, v)
        return v

    @property
    def expert_evaluations(self) -> Int[Tensor, " experts"]:
        """Of both branches."""
        return self.field.expert_evaluations

    @property
    def router_evaluations(self) -> int:
        """The router speaks once, for both branches."""
        return self.field.router_evaluations

    def switched(self) -> Bool[Tensor, " batch"]:
        """Whether the set of experts of a sample has changed."""
        return self.field.switched()


Field = RoutedField | SeparateField | SharedField


@runtime_checkable
class Guidance(Protocol):
    """What a kind of guidance offers."""

    is_conditional: ClassVar[bool] = True  # needs a condition for every sample

    def field(self, make: Make, condition: Condition | None) -> Field:
        """The velocity of one batch. Raises ValueError if a condition is needed and None."""


@dataclass(frozen=True)
class Unguided(Guidance):
    """The null branch alone: unconditional samples."""

    is_conditional: ClassVar[bool] = False

    def field(self, make: Make, condition: Condition | None) -> RoutedField:
        """The null branch, whatever the condition."""
        return make(None)


@dataclass(frozen=True)
class Conditional(Guidance):
    """The conditional branch alone: what is asked for, without guidance."""

    def field(self, make: Make, condition: Condition | None) -> RoutedField:
        """The conditional branch."""
        return make(needed(condition, "conditional"))


@dataclass(frozen=True)
class Separate(Guidance):
    """Two branches with a posterior each; `scale` 0 is none, 1 is conditional, more is guided."""

    scale: float

    def __post_init__(self):
        refuse_scale(self.scale, "separate")

    def field(self, make: Make, condition: Condition | None) -> RoutedField | SeparateField:
        """Both branches, or the one that the scale leaves."""
        condition = needed(condition, "separate")
        if self.scale in (0, 1):
            return make(condition if self.scale == 1 else None)
        return SeparateField(make(None), make(condition), self.scale)


@dataclass(frozen=True)
class Shared(Guidance):
    """The null branch weighs both branches; `scale` 0 is none, 1 not the same as conditional."""

    scale: float

    def __post_init__(self):
        refuse_scale(self.scale, "shared")

    def field(self, make: Make, condition: Condition | None) -> RoutedField | SharedField:
        """Both branches, or the null branch if the scale is 0."""
        condition = needed(condition, "shared")
        return make(None) if self.scale == 0 else SharedField(make(None), condition, self.scale)


GUIDANCE: dict[str, type[Guidance]] = {
    "none": Unguided,
    "conditional": Conditional,
    "separate": Separate,
    "shared": Shared,
}


def needed(condition: Condition | None, name: str) -> Condition:
    """The condition. Raises ValueError if there is none."""
    if condition is None:
        raise ValueError(f"guidance {name} needs a condition per sample, got none: choose 'none'")
    return condition


def refuse_scale(scale: float, name: str) -> None:
    """Raise ValueError unless the scale is a number >= 0."""
    if not 0 <= scale < math.inf:
        raise ValueError(f"guidance {name}: scale must be finite and >= 0, got {scale}: 0 is none")
