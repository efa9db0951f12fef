"""A metric of single samples: the length of their feature vectors."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.protocol import ArmSamples, Kind, PerSampleMetric


@dataclass(frozen=True)
class FeatureNorm(PerSampleMetric):
    """Mean length of the feature vectors; compare it with the row of the held-out images."""

    kinds: ClassVar = {"feature_norm": Kind(0, 0.0)}  # neither direction is better; at least 0

    def scores(self, arm: ArmSamples):
        """Return the length of every feature vector, under the metric's name."""
        return {arm.metric_name("feature_norm"): arm.features.double().norm(dim=1)}
