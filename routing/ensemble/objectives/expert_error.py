"""The objective `expert_error`: cross-entropy against the softmax of negative expert errors.

loss = -sum_k q_k log p_k ,  q_k ~ exp(-G_kk / tau) ,  G_kk the error of expert k at the state
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from routing.ensemble.gram_matrix import expert_errors
from routing.ensemble.objectives.base import Batch, Loss, Network, check_positive, require_fields


@dataclass(frozen=True)
class ExpertError:
    """Cross-entropy against softmax(-error / tau); its minimum is the mean target given (x_t, t).

    `tau` is in the units of G, squared error per dimension. As it goes to 0 the router learns how
    often each expert is the best one.
    """

    reads: ClassVar[str] = "probe"
    tau: float = 0.1

    def __post_init__(self):
        """Validate the options."""
        check_positive(self, "tau")

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Return the mean of -sum_k q_k log p_k."""
        (G,) = require_fields(batch, "expert_error", "gram")
        return F.cross_entropy(logits(batch.x, batch.t), (-expert_errors(G) / self.tau).softmax(1))
