"""The closed-form posterior given a label,  p_k = p(k | x_t, t, c) , where there are labels."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from routing.ensemble.routers.protocol import Cluster, Probs, Router, X
from routing.flow.conditions import Condition
from routing.flow.exact_worlds import LabelledMixture
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class ExactLabelled(Router):
    """What `Exact` is without labels; without a condition it is the posterior of the null branch.

    A router that is blind to the condition is `Exact` of the same mixture.
    """

    world: LabelledMixture
    cluster_of_component: Int[Tensor, " components"]
    num_experts: int

    def start(
        self, x: X, cluster: Cluster | None, condition: Condition | None = None
    ) -> Condition | None:
        """The condition."""
        return condition

    def posterior(self, x: X, t: Time, carry: Condition | None) -> Probs:
        """The sum of the posteriors, given the label, of each cluster's components."""
        return self.world.cluster_posterior(
            x, t, self.cluster_of_component, self.num_experts, carry
        )
