"""The closed-form posterior given a label,  p_k = p(k | x_t, t, c) , of a labelled mixture."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from routing.ensemble.routers.base import Cluster, Probs, Router, X
from routing.flow.conditions import Condition
from routing.flow.exact_worlds import LabelledMixture
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class ExactLabelled(Router):
    """The closed-form posterior of a labelled Gaussian mixture, given the samples' labels.

    Without a condition it is the unconditional posterior. For the posterior that ignores the
    condition, use `Exact` with the same mixture.
    """

    world: LabelledMixture
    cluster_of_component: Int[Tensor, " components"]
    num_experts: int

    def start(
        self, x: X, cluster: Cluster | None, condition: Condition | None = None
    ) -> Condition | None:
        """Return the condition."""
        return condition

    def posterior(self, x: X, t: Time, carry: Condition | None) -> Probs:
        """Return the sum of the posteriors, given the label, of each cluster's components."""
        return self.world.cluster_posterior(
            x, t, self.cluster_of_component, self.num_experts, carry
        )
