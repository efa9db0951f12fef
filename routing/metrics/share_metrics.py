"""Shares of categories (classes, clusters), and their distances from the training images' shares.

The part that `class_shares` and `cluster_shares` have in common.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from routing.metrics.formulas.category_shares import kl_divergence, total_variation
from routing.metrics.protocol import Kind, Replicates

SHARE_KINDS = {"share": Kind(0, 0, 1), "tv": Kind(-1, 0, 1), "kl": Kind(-1)}


def share_metrics(
    kind: str,
    names: Sequence[str],
    p: Float[Tensor, "replicates categories"],
    q: Float[Tensor, " categories"],
) -> Replicates:
    """Return `<kind>_share_<name>` for every category, `<kind>_tv` and `<kind>_kl` (nats).

    `p` are the shares of the samples, `q` those of the training images.
    """
    values = {f"{kind}_share_{name}": p[:, c] for c, name in enumerate(names)}
    return values | {f"{kind}_tv": total_variation(p, q), f"{kind}_kl": kl_divergence(p, q)}


def share_scores(
    kind: str, names: Sequence[str], labels: Int[Tensor, " samples"]
) -> dict[str, Float[Tensor, " samples"]]:
    """Return, by `<kind>_share_<name>`, 1 for the samples of the category and 0 for the others."""
    return {f"{kind}_share_{name}": (labels == c).float() for c, name in enumerate(names)}
