"""The router `oracle_label`:  p_k = 1  for the true cluster of the sample, given from outside."""

from dataclasses import dataclass

from torch.nn.functional import one_hot

from routing.ensemble.routers.base import Cluster, Probs, Router, RouterOptions, X
from routing.ensemble.routers.inputs import RouterInputs
from routing.flow.conditions import Condition
from routing.flow.paths import Time


@dataclass(frozen=True)
class OracleLabel(Router):
    """Probability 1 for the cluster that is assigned to the sample before sampling starts."""

    num_experts: int

    def start(self, x: X, cluster: Cluster | None, condition: Condition | None = None) -> Cluster:
        """Return the clusters. Raises ValueError if there are none."""
        if cluster is None:
            raise ValueError("oracle_label needs every sample's cluster, got none: give them")
        return cluster

    def posterior(self, x: X, t: Time, carry: Cluster) -> Probs:
        """Return one-hot rows."""
        return one_hot(carry.long(), self.num_experts).to(x.dtype)


@dataclass(frozen=True)
class OracleLabelOptions(RouterOptions):
    """The cluster that is assigned to the sample before sampling starts."""

    def build(self, inputs: RouterInputs) -> OracleLabel:
        """Return the router."""
        return OracleLabel(len(inputs.prior))
