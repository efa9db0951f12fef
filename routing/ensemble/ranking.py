"""The order of the experts by probability, and the posterior on the first of them.

Apart from the policies that use it: what trains routers needs no more of them than this, and an
edit of a policy shall not train anything again.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Probs = Float[Tensor, "batch experts"]  # >= 0, rows sum to 1


def ranking(p: Probs) -> Int[Tensor, "batch experts"]:
    """Experts from the most to the least probable; of equal ones the lower index comes first."""
    # Ties are the rule at t = 1, where p is the cluster prior; topk() leaves them open.
    return p.argsort(dim=1, descending=True, stable=True)


def renormalised(p: Probs, chosen: Bool[Tensor, "batch experts"]) -> Probs:
    """`p` on the chosen experts, which hold the most probable one, divided by its sum there."""
    kept = torch.where(chosen, p, 0.0)
    return kept / kept.sum(dim=1, keepdim=True)  # sum >= 1 / num_experts: no epsilon
