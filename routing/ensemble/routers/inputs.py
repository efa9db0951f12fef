"""What routers are built from: the statistics of a partition and the functions it came with."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from routing.flow.exact_worlds import GaussianMixture, LabelledMixture


@dataclass(frozen=True, eq=False)
class RouterInputs:
    """What a router may be built from; None where not available.

    `prior` is the proportion of each cluster in the data, `centroids` are its centres in the
    feature space of `encode`. `mixture` is the data distribution where it is known in closed form,
    `cluster_of_component` the cluster of each of its components. `label_counts` are numbers of
    training images by cluster and label. Raises ValueError unless the prior is >= 0 and sums to 1.
    """

    prior: Float[Tensor, " experts"]
    centroids: Float[Tensor, "experts features"] | None = None
    encode: Callable[[Tensor], Tensor] | None = None
    mixture: GaussianMixture | LabelledMixture | None = None
    cluster_of_component: Int[Tensor, " components"] | None = None
    label_counts: Int[Tensor, "experts labels"] | None = None

    def __post_init__(self):
        """Validate the prior."""
        total = self.prior.sum().item()
        if not (self.prior >= 0).all() or abs(total - 1) > 1e-5:
            raise ValueError(
                f"prior must be >= 0 and sum to 1, got {self.prior.tolist()}: divide by {total:g}"
            )

    def require(self, router: str, *names: str) -> tuple:
        """Return the fields of these names. Raises ValueError for `router` if one is None."""
        for name in names:
            if getattr(self, name) is None:
                raise ValueError(f"{router} needs {name}, got none: choose another router")
        return tuple(getattr(self, name) for name in names)
