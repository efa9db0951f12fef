"""What a router is: the calls it answers, what it is told, and how its options are written."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from routing.flow.conditions import Condition
from routing.flow.paths import Time

X = Float[Tensor, "batch *dims"]
Probs = Float[Tensor, "batch experts"]  # >= 0, rows sum to 1
Cluster = Int[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class Said:
    """What was said at one call: the velocity that the samples follow and, where a router
    `reads` it, the velocity and the divergence  div v_k = tr(d v_k / d x)  of every expert."""

    v: Float[Tensor, "batch *dims"]
    velocities: Float[Tensor, "batch experts *dims"] | None = None
    divergences: Float[Tensor, "batch experts"] | None = None


@runtime_checkable
class Router(Protocol):
    """What a router offers. Those that remember nothing inherit all but the posterior."""

    network_calls = 0  # router networks run per sample and posterior
    reads: str | None = None  # "velocities" or "divergences" (and velocities) of all experts

    def start(self, x: X, cluster: Cluster | None, condition: Condition | None = None) -> Any:
        """The carry at the start of a trajectory from `x`, of samples of the given clusters."""
        return None

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """p(k | x_t, t)."""

    def observe(self, x: X, t: Time, said: Said, carry: Any) -> Any:
        """The carry after the ensemble has spoken at (x_t, t)."""
        return carry


class Options:
    """What all options of routers say of their router, unless they say otherwise."""

    learned: ClassVar[bool] = False  # made by the router stage, not by `bind`
    wants_noise: ClassVar[bool] = False  # only for stochastic samplers
    counts_labels: ClassVar[bool] = False  # starts from p(k | label), if a label is asked for
