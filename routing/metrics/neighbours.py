"""Fidelity, diversity and memorisation from nearest neighbours."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.base import InSpace, Kind, Real, Replicates, View
from routing.metrics.formulas.memorisation import CopyReference, copy_metrics
from routing.metrics.formulas.precision_recall import NeighbourReference, neighbour_metrics

K_PRECISION, K_DENSITY = 3, 5  # as published


@dataclass(frozen=True)
class OfNeighbours(InSpace):
    """A metric of balls that reach to the k-th neighbour; another k than published is in names."""

    k_precision: int = K_PRECISION
    k_density: int = K_DENSITY

    reference: ClassVar = NeighbourReference
    fitted_by: ClassVar = ("k_precision", "k_density")

    def __post_init__(self) -> None:
        """Refuse a neighbour that is none."""
        super().__post_init__()
        for option in self.fitted_by:
            if (k := getattr(self, option)) < 1:
                raise ValueError(f"wanted {option} >= 1, got {k}; 3 and 5 are usual")

    def departures(self, kind: str) -> tuple[str, ...]:
        """Another k than that of precision and recall, or of density and coverage."""
        k, published = self.k_density, K_DENSITY
        if kind in ("precision", "recall"):
            k, published = self.k_precision, K_PRECISION
        return (f"k{k}",) if k != published else ()

    def fit(self, real: Real) -> NeighbourReference:
        """Radii of the training images."""
        return NeighbourReference.fit(real.points, self.k_precision, self.k_density)


@dataclass(frozen=True)
class Neighbours(OfNeighbours):
    """Precision and recall (k = 3), density and coverage (k = 5); higher is better, shares of one.

    Density may exceed 1. Recall and coverage grow with the number of samples.
    """

    kinds: ClassVar = {
        "precision": Kind(1, 0, 1),
        "recall": Kind(1, 0, 1),
        "density": Kind(1),
        "coverage": Kind(1, 0, 1),
    }

    def replicates(self, view: View) -> Replicates:
        """Four numbers."""
        found = neighbour_metrics(view.features, view.reference, view.weights)
        return {view.named(kind): values for kind, values in found.items()}


@dataclass(frozen=True)
class Copies(InSpace):
    """How near the samples are to training images; diagnostics, neither direction is better.

    All of them are searched, whatever `num_references` says.

    `copy_ratio`: mean distance to the nearest training image over that of held-out images; well
    below 1 is suspicious. `authenticity`: share of samples farther from their nearest training
    image than that is from its own neighbour.
    """

    kinds: ClassVar = {"copy_ratio": Kind(0), "authenticity": Kind(0, 0, 1)}
    reference: ClassVar = CopyReference
    fits_all: ClassVar[bool] = True
    resamples: ClassVar[bool] = True

    def fit(self, real: Real) -> CopyReference:
        """Distances of held-out images to the training images."""
        return CopyReference.fit(real.blocks, real.heldout)

    def replicates(self, view: View) -> Replicates:
        """Both numbers."""
        found = copy_metrics(view.features, view.reference, view.weights)
        return {view.named(kind): value for kind, value in found.items()}
