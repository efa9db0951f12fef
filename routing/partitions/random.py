"""Random clusters with the sizes of another partition: the control for a partition's geometry."""

from dataclasses import dataclass

from routing.partitions.base import FixedAssignment, PartitionInputs, split_positions


@dataclass(frozen=True)
class Random:
    """Permutes the clusters of the partition `like` within each split (train and held-out).

    If that partition overlaps, the two clusters of an image stay together.
    """

    like: str
    seed: int = 0

    def fit(self, inputs: PartitionInputs) -> FixedAssignment:
        """Return the permuted clusters."""
        clusters = inputs.like.copy()
        for rows in split_positions(inputs):
            clusters[rows] = inputs.rng.permutation(clusters[rows])
        return FixedAssignment(clusters)
