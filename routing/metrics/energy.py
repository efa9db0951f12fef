"""Energy distance."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.energy_distance import EnergyReference, energy_distance
from routing.metrics.protocol import (
    UNBIASED_DISTANCE,
    ArmSamples,
    FeatureSpaceMetric,
    Replicates,
)


@dataclass(frozen=True)
class Energy(FeatureSpaceMetric):
    """Energy distance; lower is better, around 0 where the distributions are equal."""

    kinds: ClassVar = {"energy": UNBIASED_DISTANCE}
    reference_type: ClassVar = EnergyReference

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return one value per replicate."""
        value = energy_distance(arm.features, arm.reference, arm.weights)
        return {arm.metric_name("energy"): value}
