"""The router `prior`:  p_k = pi_k , the proportion of cluster k in the data."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from routing.ensemble.routers.base import Probs, Router, RouterOptions, X
from routing.ensemble.routers.inputs import RouterInputs
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class Prior(Router):
    """The same posterior for all states: the proportion of each cluster in the data."""

    prior: Float[Tensor, " experts"]

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """Return the prior for each sample."""
        return self.prior.to(x.dtype).repeat(len(x), 1)


@dataclass(frozen=True)
class PriorOptions(RouterOptions):
    """The proportion of each cluster in the data, for all states."""

    def build(self, inputs: RouterInputs) -> Prior:
        """Return the router."""
        return Prior(inputs.prior)
