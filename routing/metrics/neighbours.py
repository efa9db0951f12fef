"""Precision, recall, density and coverage from nearest neighbours."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.precision_recall import NeighbourReference, neighbour_metrics
from routing.metrics.protocol import (
    ArmSamples,
    FeatureSpaceMetric,
    Kind,
    ReferenceSamples,
    Replicates,
)

K_PRECISION, K_DENSITY = 3, 5  # as published


@dataclass(frozen=True)
class NeighbourMetric(FeatureSpaceMetric):
    """Base class of metrics whose balls reach to the k-th nearest neighbour.

    A k other than the published one is part of the metric's name.
    """

    k_precision: int = K_PRECISION
    k_density: int = K_DENSITY

    reference_type: ClassVar = NeighbourReference
    fit_options: ClassVar = ("k_precision", "k_density")

    def __post_init__(self) -> None:
        """Validate the options."""
        super().__post_init__()
        for option in self.fit_options:
            if (k := getattr(self, option)) < 1:
                raise ValueError(f"wanted {option} >= 1, got {k}; 3 and 5 are usual")

    def name_suffixes(self, kind: str) -> tuple[str, ...]:
        """Return k of precision and recall, or of density and coverage, if it is not usual."""
        k, published = self.k_density, K_DENSITY
        if kind in ("precision", "recall"):
            k, published = self.k_precision, K_PRECISION
        return (f"k{k}",) if k != published else ()

    def fit(self, real: ReferenceSamples) -> NeighbourReference:
        """Return the radii of the training images' balls."""
        return NeighbourReference.fit(real.points, self.k_precision, self.k_density)


@dataclass(frozen=True)
class Neighbours(NeighbourMetric):
    """Precision and recall (k = 3), density and coverage (k = 5); higher is better, in [0, 1].

    Density may exceed 1. Recall and coverage grow with the number of samples.
    """

    kinds: ClassVar = {
        "precision": Kind(1, 0, 1),
        "recall": Kind(1, 0, 1),
        "density": Kind(1),
        "coverage": Kind(1, 0, 1),
    }

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return the four metrics."""
        values = neighbour_metrics(arm.features, arm.reference, arm.weights)
        return {arm.metric_name(kind): value for kind, value in values.items()}
