"""What routers are made of."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from routing.flow.exact_worlds import LabelledMixture, Mixture

Field = Callable[..., Tensor]  # (x_t, t) or (x_t, t, condition) -> something per sample


@dataclass(frozen=True, eq=False)
class Materials:
    """What a router may be made of; `label_counts` are numbers of training images.

    Raises ValueError unless the prior is >= 0 and sums to 1.
    """

    prior: Float[Tensor, " experts"]
    centroids: Float[Tensor, "experts features"] | None = None
    encode: Callable[[Tensor], Tensor] | None = None
    network: Field | None = None
    mixture: Mixture | LabelledMixture | None = None
    cluster_of_component: Int[Tensor, " components"] | None = None
    label_counts: Int[Tensor, "experts labels"] | None = None

    def __post_init__(self):
        total = self.prior.sum().item()
        if not (self.prior >= 0).all() or abs(total - 1) > 1e-5:
            raise ValueError(
                f"prior must be >= 0 and sum to 1, got {self.prior.tolist()}: divide by {total:g}"
            )

    def need(self, router: str, *names: str) -> tuple:
        """The materials of these names. Raises ValueError for `router` if one is missing."""
        for name in names:
            if getattr(self, name) is None:
                raise ValueError(f"{router} needs {name}, got none: choose another router")
        return tuple(getattr(self, name) for name in names)
