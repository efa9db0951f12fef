"""The router `uniform`:  p_k = 1 / K ."""

from dataclasses import dataclass
from typing import Any

from routing.ensemble.routers.base import Probs, Router, RouterOptions, X
from routing.ensemble.routers.inputs import RouterInputs
from routing.flow.paths import Time


@dataclass(frozen=True)
class Uniform(Router):
    """The same probability for all experts."""

    num_experts: int

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """Return 1 / num_experts for each sample and expert."""
        return x.new_full((len(x), self.num_experts), 1 / self.num_experts)


@dataclass(frozen=True)
class UniformOptions(RouterOptions):
    """The same probability for all experts, for all states."""

    def build(self, inputs: RouterInputs) -> Uniform:
        """Return the router."""
        return Uniform(len(inputs.prior))
