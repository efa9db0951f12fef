"""Clusters of whole mixture components, for data from a Gaussian mixture (an exact world)."""

from dataclasses import dataclass

import numpy as np

from routing.partitions.base import FixedAssignment, PartitionInputs


@dataclass(frozen=True)
class Components:
    """Puts all images of mixture component c into cluster `clusters[c]`."""

    num_clusters: int
    clusters: tuple[int, ...]

    def fit(self, inputs: PartitionInputs) -> FixedAssignment:
        """Return the clusters. Raises ValueError unless `clusters` fits the data's components."""
        if inputs.components is None:
            raise ValueError(
                "clusters: wanted data.source 'mixture', got a source without components; use "
                "another method"
            )
        num = inputs.components.max() + 1
        if len(self.clusters) != num or set(self.clusters) != set(range(self.num_clusters)):
            raise ValueError(
                f"clusters: wanted {num} (components), each of 0..{self.num_clusters - 1} at "
                f"least once, got {list(self.clusters)}; correct it"
            )
        return FixedAssignment(np.asarray(self.clusters)[inputs.components][:, None])
