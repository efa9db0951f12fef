"""Agreement: how often the classifier predicts the class that a sample is conditioned on."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from routing.metrics.protocol import ArmSamples, Kind, PerSampleMetric


@dataclass(frozen=True)
class Agreement(PerSampleMetric):
    """Fraction of the samples whose predicted class is the requested class.

    Higher is better, in [0, 1]. Only for arms that are conditioned on a label, and for held-out
    images, whose requested class is their label.
    """

    kinds: ClassVar = {"agreement": Kind(1, 0, 1)}

    def scores(self, arm: ArmSamples) -> dict[str, Tensor]:
        """Return 1 where the classes agree, else 0; {} for an arm without requested classes."""
        if arm.requested_classes is None:
            return {}
        arm.require_classes("agreement")
        is_equal = arm.predicted_classes == arm.requested_classes
        return {arm.metric_name("agreement"): is_equal.double()}

    def count_scales(self, arm: ArmSamples) -> dict[str, float]:
        """Return 1: the value is a fraction of the samples."""
        return {} if arm.requested_classes is None else {arm.metric_name("agreement"): 1.0}
