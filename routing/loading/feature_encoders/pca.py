"""Whitened principal components of the values as features."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from routing.loading.feature_encoders import principal_components
from routing.loading.feature_encoders.fitted_encoders import linear_metadata
from routing.loading.feature_encoders.fitting_samples import (
    Arrays,
    FittingSamples,
    Reads,
    check_max_fit,
)

MAX_SVD_VALUES = 1 << 26  # larger samples are decomposed by their covariance, in less memory
BLOCK_SIZE = 1024  # samples


@dataclass(frozen=True)
class PCA:
    """The `dim` principal components of the values, each scaled to unit variance.

    `reads` says whether the values are images or latents.
    """

    dim: int = 32
    reads: Reads = "images"
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Validate the options."""
        if self.dim < 1:
            raise ValueError(f"pca wants dim >= 1, got {self.dim}; raise it")
        check_max_fit("pca", self.max_fit)

    def fit(self, samples: FittingSamples) -> tuple[Arrays, dict[str, Any]]:
        """Return the mean and the projection whose outputs have unit variance on `samples`.

        Raises ValueError if there are fewer than `dim` components with any variance.
        """
        most = min(len(samples), samples.dim)
        if self.dim > most:
            raise ValueError(f"pca wants dim <= {most} here, got {self.dim}; lower it")
        if len(samples) * samples.dim <= MAX_SVD_VALUES:
            mean, directions, variances = principal_components.by_svd(samples.all(), self.dim)
        else:
            blocks = samples.blocks(BLOCK_SIZE)
            mean, directions, variances = principal_components.by_covariance(blocks, self.dim)
        scale = np.sqrt(variances)
        if not scale.min() > 1e-9 * scale.max():
            raise ValueError(f"pca: component {self.dim} has no variance to whiten; lower dim")
        projection = directions.T / scale
        return {"mean": mean, "projection": projection}, linear_metadata(samples.shape)
