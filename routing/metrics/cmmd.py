"""CMMD: the maximum mean discrepancy of CLIP features."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.cmmd import GaussianReference, cmmd_both
from routing.metrics.protocol import (
    UNBIASED_DISTANCE,
    ArmSamples,
    FeatureSpaceMetric,
    Kind,
    Replicates,
)


@dataclass(frozen=True)
class CMMD(FeatureSpaceMetric):
    """CMMD: Gaussian kernel (sigma 10) on unit vectors, times 1000; lower is better, from 0.

    `cmmd` is the published number, which is biased upward by about (1/n + 1/m) of its scale.
    `cmmd_unbiased` has no bias: use it for few samples.
    """

    kinds: ClassVar = {"cmmd": Kind(-1), "cmmd_unbiased": UNBIASED_DISTANCE}
    reference_type: ClassVar = GaussianReference
    supports_bootstrap: ClassVar[bool] = True

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return both forms."""
        both = cmmd_both(arm.features, arm.reference, arm.weights)
        return dict(zip(map(arm.metric_name, self.kinds), both, strict=True))
