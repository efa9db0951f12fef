"""Kernel distance (KID in Inception features)."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.protocol import (
    UNBIASED_DISTANCE,
    ArmSamples,
    FeatureSpaceMetric,
    Replicates,
)


@dataclass(frozen=True)
class Kernel(FeatureSpaceMetric):
    """Kernel distance, cubic and unbiased (KID in Inception features); lower is better, around 0.

    Around 0 where the distributions are equal.
    """

    kinds: ClassVar = {"kernel": UNBIASED_DISTANCE}
    reference_type: ClassVar = KernelReference
    supports_bootstrap: ClassVar[bool] = True

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return one value per replicate."""
        value = kernel_distance(arm.features, arm.reference, arm.weights)
        return {arm.metric_name("kernel"): value}
