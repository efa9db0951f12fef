"""What objectives are given, what they answer, and how they refuse."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from routing.ensemble.gram_matrix import Grams
from routing.flow.paths import Time

X = Float[Tensor, "batch *dims"]
Logits = Float[Tensor, "batch experts"]
Network = Callable[[X, Time], Logits]  # the condition is bound already
Loss = Float[Tensor, ""]


@dataclass(frozen=True, eq=False)
class Batch:
    """States (x_t, t) and what is known of each; None where an objective's source has none.

    `distances` are those of the features of x_0 to the centroids, `uniforms` in [0, 1) is for
    what an objective draws. `directions` u_j are N(0, I), `projections` are <u_j, v_k>.
    """

    x: X
    t: Time
    cluster: Int[Tensor, " batch"]
    distances: Float[Tensor, "batch experts"]
    prior: Float[Tensor, " experts"]
    uniforms: Float[Tensor, " batch"]
    gram: Grams | None = None
    directions: Float[Tensor, "batch directions *dims"] | None = None
    projections: Float[Tensor, "batch directions experts"] | None = None


@runtime_checkable
class Objective(Protocol):
    """What an objective offers.

    `logits` answers for the states of the batch, or for several points x of each of them, given
    as whole batches one after the other.
    """

    reads: ClassVar[str]  # "images" or "probe"

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """The loss of the network `logits`; ValueError if the batch lacks what it reads."""


def read(batch: Batch, who: str, *names: str) -> list[Tensor]:
    """Those fields of the batch; ValueError if it lacks one."""
    for name in names:
        if getattr(batch, name) is None:
            raise ValueError(f"{who}: the batch must have {name}, got None: train on the probe")
    return [getattr(batch, name) for name in names]


def positive(objective: Objective, option: str) -> None:
    """Refuse an option that is not above 0."""
    value = getattr(objective, option)
    if not value > 0:
        raise ValueError(f"{option} must be positive, got {value}: raise it")
