"""Learned routers: the softmax of a network's logits, with or without the condition as input.

    p = softmax(z / T_b) ,   z = net(x_t, t)  or  net(x_t, t, c) ,   t in bin b of [0, 1]

with one temperature per bin of equal width (temperature scaling, Guo et al. 2017,
arXiv:1706.04599, here by noise level). Sources: DDM (McAllister et al. 2025, arXiv:2501.05450);
Paris (arXiv:2510.03434), whose router has no condition. The options of a learned router are in
`routing.stages.router`, which trains it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from routing.ensemble.calibration import tempered
from routing.ensemble.routers.base import Cluster, Probs, Router, X
from routing.flow.conditions import Condition
from routing.flow.paths import Time

Network = Callable[..., Tensor]  # (x_t, t) or (x_t, t, condition) -> logits [batch experts]


@dataclass(frozen=True, eq=False)
class LearnedRouter(Router):
    """A learned router whose inputs are the state and the time, without the condition.

    Raises ValueError unless all temperatures are > 0.
    """

    net: Network
    temperatures: Float[Tensor, " bins"] | None = None  # of equal bins of [0, 1]; None: all 1
    network_calls: ClassVar[int] = 1

    def __post_init__(self):
        """Validate the temperatures."""
        if self.temperatures is not None and not (self.temperatures > 0).all():
            got = self.temperatures.tolist()
            raise ValueError(f"router: temperatures must be > 0, got {got}: calibrate again")

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """Return softmax(net(x_t, t) / temperature of the bin of t)."""
        return self._tempered(self.net(x, t), t).softmax(dim=1)

    def _tempered(self, logits: Float[Tensor, "batch experts"], t: Time) -> Tensor:
        if self.temperatures is None:
            return logits
        return tempered(logits, t, self.temperatures.to(logits.dtype))


@dataclass(frozen=True, eq=False)
class ConditionalLearnedRouter(LearnedRouter):
    """A learned router with the condition as input:  net(x_t, t, condition or None)."""

    def start(
        self, x: X, cluster: Cluster | None, condition: Condition | None = None
    ) -> Condition | None:
        """Return the condition."""
        return condition

    def posterior(self, x: X, t: Time, carry: Condition | None) -> Probs:
        """Return softmax(net(x_t, t, c) / temperature of the bin of t)."""
        return self._tempered(self.net(x, t, carry), t).softmax(dim=1)
