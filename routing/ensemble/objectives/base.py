"""The protocol of objectives, their batch, and the checks that they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from routing.ensemble.gram_matrix import Grams
from routing.flow.paths import Time

X = Float[Tensor, "batch *dims"]
Logits = Float[Tensor, "batch experts"]
Network = Callable[[X, Time], Logits]  # its condition is fixed
Loss = Float[Tensor, ""]


@dataclass(frozen=True, eq=False)
class Batch:
    """States (x_t, t) and their training data; None where the source of the states has none.

    `distances` are from the features of x_0 to the centroids, `prior` is the proportion of each
    cluster. `uniforms` in [0, 1) are for objectives that draw random numbers. `directions` u_j are
    N(0, I), `projections` are <u_j, v_k>.
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
    """A training loss of a router.

    `logits` is called with the states of the batch, or with several points x per state, ordered as
    one whole batch after the other.
    """

    reads: ClassVar[str]  # "images" or "probe"

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Return the loss of the network `logits`. Raises ValueError if a field is missing."""


def require_fields(batch: Batch, objective: str, *names: str) -> list[Tensor]:
    """Return the fields of these names. Raises ValueError for `objective` if one is None."""
    for name in names:
        if getattr(batch, name) is None:
            raise ValueError(
                f"{objective}: the batch must have {name}, got None: train on the probe"
            )
    return [getattr(batch, name) for name in names]


def check_positive(objective: Objective, option: str) -> None:
    """Raise ValueError unless the option is > 0."""
    value = getattr(objective, option)
    if not value > 0:
        raise ValueError(f"{option} must be positive, got {value}: raise it")
