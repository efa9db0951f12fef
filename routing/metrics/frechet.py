"""Frechet distance (FID in Inception features)."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from routing.metrics.formulas.frechet_distance import (
    FrechetReference,
    frechet_bootstrap,
    frechet_distance,
    sample_size_note,
)
from routing.metrics.protocol import (
    ArmSamples,
    FeatureSpaceMetric,
    Kind,
    ReferenceSamples,
    Replicates,
)


@dataclass(frozen=True)
class Frechet(FeatureSpaceMetric):
    """Frechet distance (FID in Inception features); lower is better, from 0.

    Its expectation exceeds its limit by about c / n: compare at equal n. Bootstrap draws are of
    its first-order expansion, which does not add that bias a second time
    (routing.metrics.formulas.frechet_distance).
    """

    kinds: ClassVar = {"frechet": Kind(-1)}
    reference_type: ClassVar = FrechetReference
    fits_all_images: ClassVar[bool] = True
    supports_bootstrap: ClassVar[bool] = True

    def fit(self, real: ReferenceSamples) -> FrechetReference:
        """Return the moments of all training images."""
        return FrechetReference.of_blocks(real.blocks())

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return one value per replicate."""
        value = frechet_distance(arm.features, arm.reference, arm.weights)
        return {arm.metric_name("frechet"): value}

    def bootstrap(self, arm: ArmSamples, counts: Float[Tensor, "draws samples"]) -> Replicates:
        """Return draws of the first-order expansion."""
        draws = frechet_bootstrap(arm.features, arm.reference, counts)
        return {arm.metric_name("frechet"): draws}

    def note(self, arm: ArmSamples) -> str:
        """Return a caveat if there are few samples for the number of dimensions."""
        return sample_size_note(len(arm.features), arm.reference)
