"""Frechet distance extrapolated to infinitely many samples."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from routing.metrics.formulas.frechet_distance import (
    FrechetReference,
    frechet_distance,
    reference_size_note,
)
from routing.metrics.formulas.sample_size_extrapolation import extrapolate, subset_sizes
from routing.metrics.protocol import (
    ArmSamples,
    FeatureSpaceMetric,
    Kind,
    ReferenceSamples,
    Replicates,
)


@dataclass(frozen=True)
class FrechetInfinity(FeatureSpaceMetric):
    """Intercept of the Frechet distance as a line in 1 / n; lower is better, from 0.

    It is nearer to the limit than the distance at n, but not unbiased; noise may take it below 0.
    Do not use it where a subset has no more samples than dimensions: the distance is no line in
    1 / n there.
    """

    kinds: ClassVar = {"frechet_infinity": Kind(-1, -math.inf)}
    reference_type: ClassVar = FrechetReference
    fits_all_images: ClassVar[bool] = True

    def fit(self, real: ReferenceSamples) -> FrechetReference:
        """Return the moments of all training images."""
        return FrechetReference.of_blocks(real.blocks())

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return one value per replicate; subsets are the first kept samples of `arm.order`."""

        def distance(weights: Tensor) -> Tensor:
            return frechet_distance(arm.features, arm.reference, weights)

        value = extrapolate(distance, arm.order, arm.weights)
        return {arm.metric_name("frechet_infinity"): value}

    def note(self, arm: ArmSamples) -> str:
        """Return a caveat if subsets are too small for the extrapolation."""
        num, dim = arm.features.shape
        caveat, smallest = "", subset_sizes(num)[0]
        if smallest <= dim:
            caveat = (
                f"subsets of {smallest} to {num} samples in {dim} dimensions: below {dim + 1} "
                "samples the distance is not linear in 1 / n, so this is not its limit; use the "
                "kernel distance, which has no bias"
            )
        return "; ".join(filter(None, (caveat, reference_size_note(arm.reference))))
