"""The cost of sampling an arm: network evaluations (NFE), FLOPs and seconds."""

import numpy as np
import pandas as pd

from routing.flow.conditions import ConditionedNetwork
from routing.loading.arms import Arm
from routing.networks.dit import DiT, flop_per_sample


def cost_table(arm: Arm, batches: list[dict], num: int, seconds: float) -> pd.DataFrame:
    """Return the cost of `num` samples: a row for each expert, for the router and for the total.

    `evaluations` and `flop` are per sample; `seconds` is the wall time of all samples, in the row
    of the total. A closed form has 0 FLOP, its evaluations count. A text counts as long as the
    longest of the batches. The router by distance includes the network that embeds its inputs.
    """
    num_tokens = max(b["num_tokens"] for b in batches)
    evaluations = np.sum([b["expert_evaluations"] for b in batches], axis=0) / num
    rows = [
        ("expert", k, n, n * flop(arm.experts[k], num_tokens)) for k, n in enumerate(evaluations)
    ]
    of_router = sum(b["router_evaluations"] for b in batches) / num
    router_flop = of_router * flop(getattr(arm.router, "net", None), num_tokens)
    router_flop += arm.encoder.flop / num
    rows.append(("router", 0, of_router + arm.encoder.evaluations / num, router_flop))
    rows.append(("total", 0, evaluations.sum(), sum(row[3] for row in rows)))
    table = pd.DataFrame(rows, columns=["component", "expert_index", "evaluations", "flop"])
    return table.assign(seconds=np.where(table["component"] == "total", seconds, np.nan))


def flop(net: object, num_tokens: int = 0) -> float:
    """Return the FLOPs of one evaluation for one sample; 0 if `net` is no network."""
    net = net.net if isinstance(net, ConditionedNetwork) else net
    if not isinstance(net, DiT):
        return 0.0
    has_text = net.architecture.text_dim is not None
    return float(flop_per_sample(net, max(1, num_tokens) if has_text else 0))
