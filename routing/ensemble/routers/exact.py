"""The closed-form posterior, where the data are a Gaussian mixture.

    p_k = sum_c p(c | x_t) ,   over the components c of cluster k

and given the condition too where the components have labels
(`routing.ensemble.routers.labelled`). By
Bayes' rule (`routing.flow.exact_worlds`): no router knows better where experts are exact.
"""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from routing.ensemble.routers.labelled import ExactLabelled
from routing.ensemble.routers.materials import Materials
from routing.ensemble.routers.protocol import Options, Probs, Router, X
from routing.flow.exact_worlds import LabelledMixture, Mixture
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class Exact(Router):
    """The closed-form posterior of a Gaussian mixture whose components belong to clusters."""

    mixture: Mixture
    cluster_of_component: Int[Tensor, " components"]
    num_experts: int

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """The sum of the posteriors of each cluster's components."""
        return self.mixture.cluster_posterior(x, t, self.cluster_of_component, self.num_experts)


@dataclass(frozen=True)
class ExactOptions(Options):
    """The closed-form posterior, in a world that has one."""

    def bind(self, materials: Materials) -> Exact | ExactLabelled:
        """The router, told the condition where the world has labels.

        Raises ValueError without the mixture and its clusters.
        """
        mixture, cluster = materials.need("exact", "mixture", "cluster_of_component")
        kind = ExactLabelled if isinstance(mixture, LabelledMixture) else Exact
        return kind(mixture, cluster, len(materials.prior))
