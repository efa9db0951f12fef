"""Inception score."""

from dataclasses import dataclass
from typing import ClassVar

from routing.metrics.formulas.inception_score import inception_score, torch_fidelity_order
from routing.metrics.protocol import ArmSamples, FeatureSpaceMetric, Kind, Replicates

NUM_SPLITS = 10  # as published


@dataclass(frozen=True)
class InceptionScore(FeatureSpaceMetric):
    """Inception score as torch-fidelity computes it (10 splits); higher is better, from 1.

    It falls with fewer samples per split: compare at equal numbers of samples and splits.
    """

    num_splits: int = NUM_SPLITS

    kinds: ClassVar = {"inception_score": Kind(1, 1, 1008)}
    supports_bootstrap: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Validate the options."""
        super().__post_init__()
        if self.num_splits < 1:
            raise ValueError(f"wanted num_splits >= 1, got {self.num_splits}; 10 is usual")

    def name_suffixes(self, kind: str) -> tuple[str, ...]:
        """Return the number of splits if it is not 10."""
        return (f"splits{self.num_splits}",) if self.num_splits != NUM_SPLITS else ()

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return one value per replicate."""
        order = torch_fidelity_order(len(arm.features))
        value = inception_score(arm.inception_logits, order, self.num_splits, arm.weights)
        return {arm.metric_name("inception_score"): value}
