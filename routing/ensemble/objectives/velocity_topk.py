"""The objective `velocity_topk`: the squared error of ensembles of k experts.

loss = sum_S P(S) p_S^T G p_S ,  p_S = p on S, renormalised ,  S of k experts ,
                                 P(S) ~ prod_{k in S} p_k
"""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from routing.ensemble.gram_matrix import Grams
from routing.ensemble.objectives.base import Batch, Logits, Loss, Network, require_fields
from routing.ensemble.ranking import ranking

MAX_CANDIDATES = 8  # all subsets of these experts are evaluated: 70 at most


@dataclass(frozen=True)
class VelocityTopK:
    """The error of ensembles of k experts, k drawn uniformly from 1..max_k for every state.

    Renormalised top-k weights have no gradient through the choice of the experts, and none at
    all at k = 1. So the subset S is random with P(S) ~ prod of p over S, whose mode is the top-k
    set, and the expectation over S is exact: sum_k p_k G_kk at k = 1, p^T G p at k = K. If there
    are more than MAX_CANDIDATES experts, only the most probable ones are candidates, as if the
    others had p = 0. Raises ValueError if max_k is more than the number of candidates.
    """

    reads: ClassVar[str] = "probe"
    max_k: int = 2

    def __post_init__(self):
        """Validate the options."""
        if not 1 <= self.max_k <= MAX_CANDIDATES:
            raise ValueError(
                f"velocity_topk: max_k must be in 1..{MAX_CANDIDATES}, got {self.max_k}: "
                "for all experts use velocity"
            )

    def __call__(self, logits: Network, batch: Batch) -> Loss:
        """Return the mean of sum_S P(S) p_S^T G p_S."""
        (G,) = require_fields(batch, "velocity_topk", "gram")
        num = G.shape[1]
        if self.max_k > num:
            raise ValueError(
                f"velocity_topk: max_k must be in 1..{num} (experts), got {self.max_k}: lower it"
            )
        z = logits(batch.x, batch.t)
        likely = ranking(z)[:, :MAX_CANDIDATES]
        z = z.take_along_dim(likely, 1)
        G = G.take_along_dim(likely[:, :, None], 1).take_along_dim(likely[:, None, :], 2)
        k = 1 + (batch.uniforms.double() * self.max_k).long()
        parts = [expected_subset_error(z[k == n], G[k == n], n) for n in range(1, self.max_k + 1)]
        return torch.cat(parts).mean()


def expected_subset_error(z: Logits, G: Grams, k: int) -> Float[Tensor, " batch"]:
    """Return  sum_S P(S) p_S^T G p_S  over the subsets of `k` experts, p = softmax(z)."""
    num = z.shape[1]
    subsets = torch.tensor(list(combinations(range(num), k)), device=z.device)
    is_in = F.one_hot(subsets, num).sum(1).bool()  # subsets experts
    # P(S) is the same from z as from log p: they differ by a constant, which is added k times.
    log_weight = torch.where(is_in, z[:, None], 0.0).sum(2)
    w = z[:, None].masked_fill(~is_in, -torch.inf).softmax(2)
    error = torch.einsum("bsi,bij,bsj->bs", w, G, w)
    return (log_weight.softmax(1) * error).sum(1)
