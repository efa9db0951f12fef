"""Shares of categories beside those of the data, as rows of the table."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from routing.metrics.base import Kind, Replicates
from routing.metrics.formulas.category_shares import kl_divergence, total_variation

SHARES = {"share": Kind(0, 0, 1), "tv": Kind(-1, 0, 1), "kl": Kind(-1)}


def compared(
    kind: str,
    names: Sequence[str],
    p: Float[Tensor, "replicates categories"],
    real: Float[Tensor, " categories"],
) -> Replicates:
    """`<kind>_share_<name>` for every category, `<kind>_tv`, `<kind>_kl` (nats)."""
    found = {f"{kind}_share_{name}": p[:, c] for c, name in enumerate(names)}
    return found | {f"{kind}_tv": total_variation(p, real), f"{kind}_kl": kl_divergence(p, real)}
