"""Copies: distance of the samples to the nearest training image, a sign of memorisation."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.memorisation import CopyReference, copy_metrics
from routing.metrics.protocol import (
    ArmSamples,
    FeatureSpaceMetric,
    Kind,
    ReferenceSamples,
    Replicates,
)


@dataclass(frozen=True)
class Copies(FeatureSpaceMetric):
    """Distance to the nearest training image, compared with held-out images; a diagnostic.

    `copy_ratio`: mean distance to the nearest training image, divided by that of the held-out
    images; well below 1 is suspicious. `authenticity`: fraction of the samples that are farther
    from their nearest training image than that image is from its own nearest neighbour. Neither
    direction is better. All training images are searched, whatever `num_references` is.
    """

    kinds: ClassVar = {"copy_ratio": Kind(0), "authenticity": Kind(0, 0, 1)}
    reference_type: ClassVar = CopyReference
    fits_all_images: ClassVar[bool] = True
    supports_bootstrap: ClassVar[bool] = True

    def fit(self, real: ReferenceSamples) -> CopyReference:
        """Return the distances of the held-out images to the training images."""
        return CopyReference.fit(real.blocks, real.heldout)

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return both metrics."""
        values = copy_metrics(arm.features, arm.reference, arm.weights)
        return {arm.metric_name(kind): value for kind, value in values.items()}
