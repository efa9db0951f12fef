"""The objective `velocity`: the squared error of the ensemble with weights p.

loss = p^T G p ,  G the Gram matrix of expert errors at the state
"""

from dataclasses import dataclass
from typing import ClassVar

from routing.ensemble.gram_matrix import ensemble_error
from routing.ensemble.objectives.base import Batch, Loss, Network, require_fields


@dataclass(frozen=True)
class Velocity:
    """The error of the ensemble with weights p; its minimum is the best weights given (x_t, t)."""

    reads: ClassVar[str] = "probe"

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Return the mean of p^T G p."""
        (G,) = require_fields(batch, "velocity", "gram")
        return ensemble_error(logits(batch.x, batch.t).softmax(1), G).mean()
