"""Class shares: how often the classifier predicts each class, beside the training images."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from routing.metrics.formulas.category_shares import category_shares
from routing.metrics.protocol import ArmSamples, FeatureSpaceMetric, Replicates
from routing.metrics.share_metrics import SHARE_KINDS, share_metrics, share_scores


@dataclass(frozen=True)
class ClassShares(FeatureSpaceMetric):
    """Shares of the predicted classes; total variation and KL from the training images' shares.

    Shares have no better direction. Both distances are better lower, from 0. KL is infinite where
    a sample falls in a class without training images; it is then left out of the table.
    """

    kinds: ClassVar = {f"class_{kind}": of for kind, of in SHARE_KINDS.items()}
    supports_bootstrap: ClassVar[bool] = True
    sparse_scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Validate the options: num_samples must be null, since no name would show it."""
        super().__post_init__()
        if (num := self.num_samples) is not None:
            raise ValueError(f"wanted all samples, got num_samples {num}; take it out")

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return `class_share_<label>` for every label, `class_tv` and `class_kl` (nats)."""
        arm.require_classes("class_shares")
        names = arm.class_names
        p = category_shares(arm.predicted_classes, len(names), arm.weights)
        return share_metrics("class", names, p, arm.class_shares)

    def scores(self, arm: ArmSamples) -> dict[str, Tensor]:
        """Return, by `class_share_<label>`, 1 for the samples of the class, else 0."""
        return share_scores("class", arm.class_names, arm.predicted_classes)

    def count_scales(self, arm: ArmSamples) -> dict[str, float]:
        """Return 1 for each share."""
        return {f"class_share_{name}": 1.0 for name in arm.class_names}
