"""The protocols of routers and of their options, and what a router observes after each call."""

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
class Prediction:
    """The velocity `v` that the samples follow from (x_t, t), and the outputs of all experts.

    `velocities` v_k are given to a router that reads "velocities" or "divergences", `divergences`
    div v_k = tr(d v_k / d x)  to one that reads "divergences"; else they are None.
    """

    v: Float[Tensor, "batch *dims"]
    velocities: Float[Tensor, "batch experts *dims"] | None = None
    divergences: Float[Tensor, "batch experts"] | None = None


@runtime_checkable
class Router(Protocol):
    """Map (x_t, t) to a posterior over the experts. A router without state defines `posterior`."""

    network_calls = 0  # evaluations of router networks per sample and posterior
    reads: str | None = None  # of all experts: "velocities", or "divergences" (and velocities)

    def start(self, x: X, cluster: Cluster | None, condition: Condition | None = None) -> Any:
        """Return the carry (state) at the start of a trajectory from x.

        `cluster` is the true cluster of each sample, where it is known.
        """
        return None

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """Return  p(k | x_t, t) ."""

    def observe(self, x: X, t: Time, prediction: Prediction, carry: Any) -> Any:
        """Return the carry after the ensemble was evaluated at (x_t, t)."""
        return carry


class RouterOptions:
    """Defaults for the options of routers; each has `build(inputs) -> Router`."""

    learned: ClassVar[bool] = False  # trained by the stage `router` instead of built here
    needs_noise: ClassVar[bool] = False  # only for stochastic samplers
    uses_label_counts: ClassVar[bool] = False  # starts from p(k | label) if samples have labels
