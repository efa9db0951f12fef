"""Random clusters of equal size."""

from dataclasses import dataclass

import numpy as np

from routing.partitions.base import (
    FixedAssignment,
    PartitionInputs,
    require_at_least,
    split_positions,
)


@dataclass(frozen=True)
class RandomEqual:
    """Draws clusters at random, of equal size up to one within each split (train and held-out)."""

    num_clusters: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Validate the options."""
        require_at_least(self, "random_equal", num_clusters=1)

    def fit(self, inputs: PartitionInputs) -> FixedAssignment:
        """Return a permutation of 0, 1, .., K - 1, 0, 1, .. within each split."""
        clusters = np.empty((len(inputs.is_train), 1), np.int64)
        for rows in split_positions(inputs):
            clusters[rows, 0] = inputs.rng.permutation(np.arange(len(rows)) % self.num_clusters)
        return FixedAssignment(clusters)
