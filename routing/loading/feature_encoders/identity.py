"""Identity: the values themselves as features."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from routing.loading.feature_encoders.fitted_encoders import linear_metadata
from routing.loading.feature_encoders.fitting_samples import Arrays, FittingSamples, Reads


@dataclass(frozen=True)
class Identity:
    """The values themselves, flattened. `reads` says whether they are images or latents."""

    reads: Reads = "images"
    max_fit: ClassVar[int] = 1

    def fit(self, samples: FittingSamples) -> tuple[Arrays, dict[str, Any]]:
        """Return a mean of zeros and no projection; nothing is fitted."""
        return {"mean": np.zeros(samples.dim)}, linear_metadata(samples.shape)
