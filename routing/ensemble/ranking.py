"""The order of the experts by probability, and the posterior restricted to the first of them.

These functions are apart from the policies that use them because the training of routers uses
them too: an edit of a policy must not train the routers again.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Probs = Float[Tensor, "batch experts"]  # >= 0, rows sum to 1


def ranking(p: Probs) -> Int[Tensor, "batch experts"]:
    """Return experts from the most to the least probable; ties go to the lower index."""
    # Ties are the rule at t = 1, where p is the cluster prior; topk() leaves them open.
    return p.argsort(dim=1, descending=True, stable=True)


def renormalised(p: Probs, chosen: Bool[Tensor, "batch experts"]) -> Probs:
    """Return `p` on the chosen experts, divided by its sum there.

    The most probable expert must be among the chosen ones.
    """
    kept = torch.where(chosen, p, 0.0)
    return kept / kept.sum(dim=1, keepdim=True)  # sum >= 1 / num_experts: no epsilon
