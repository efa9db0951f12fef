"""Vendi score."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.vendi_score import vendi_score
from routing.metrics.protocol import ArmSamples, FeatureSpaceMetric, Kind, Replicates


@dataclass(frozen=True)
class Vendi(FeatureSpaceMetric):
    """Vendi score: the effective number of different samples, from 1 to n.

    It does not look at the training images, and pure noise has the highest score. So it is a
    diagnostic without a better direction: compare it with the score of held-out images.
    """

    kinds: ClassVar = {"vendi": Kind(0, 1)}

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return one value per replicate."""
        return {arm.metric_name("vendi"): vendi_score(arm.features, arm.weights)}
