"""The router `exact`: the posterior in closed form, where the data are a Gaussian mixture.

    p_k = sum_c p(c | x_t) ,   over the components c of cluster k

by Bayes' rule (`routing.flow.exact_worlds`). With exact experts no router is better. Where the
components have labels, the router is `routing.ensemble.routers.exact_labelled`.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from routing.ensemble.routers.base import Probs, Router, RouterOptions, X
from routing.ensemble.routers.exact_labelled import ExactLabelled
from routing.ensemble.routers.inputs import RouterInputs
from routing.flow.exact_worlds import GaussianMixture, LabelledMixture
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class Exact(Router):
    """The closed-form posterior of a Gaussian mixture whose components belong to clusters."""

    mixture: GaussianMixture
    cluster_of_component: Int[Tensor, " components"]
    num_experts: int

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """Return the sum of the posteriors of each cluster's components."""
        return self.mixture.cluster_posterior(x, t, self.cluster_of_component, self.num_experts)


@dataclass(frozen=True)
class ExactOptions(RouterOptions):
    """The closed-form posterior, for data that are a Gaussian mixture."""

    def build(self, inputs: RouterInputs) -> Exact | ExactLabelled:
        """Return the router, conditional where the mixture has labels.

        Raises ValueError without the mixture and the clusters of its components.
        """
        mixture, cluster = inputs.require("exact", "mixture", "cluster_of_component")
        kind = ExactLabelled if isinstance(mixture, LabelledMixture) else Exact
        return kind(mixture, cluster, len(inputs.prior))
