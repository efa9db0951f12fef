"""A learned router on held-out states of the probe: its outputs, and tables of its quality.

`report_table` is long (version, t_low, t_high, num_states, quantity, value). A version is the
router without temperatures ("raw") or with fitted ones. Quantities are means over the states of
a time bin:

    accuracy, nll, ece, brier, entropy, confidence
        of p against the true cluster, in nats; confidence is the mean of the largest p
    ece_floor
        what ece is on average, with as many states, for a router that is exactly calibrated and
        has the same p
    error_full, error_top1, error_top2, error_sample
        squared error  w^T G w  with w = p, with the one or two largest p renormalised, and the
        mean over one expert drawn from p
    error_prior
        squared error with the cluster prior as weights (version "none")
    error_best, error_best2, error_simplex
        squared error of the best one, two or all experts with the best weights of each state
        (version "none"); lower bounds, because the choice uses the true velocity of the state
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from routing.ensemble.calibration import (
    calibration_error_floor,
    reliability,
    scores_by_time,
    tempered,
    time_bins,
)
from routing.ensemble.gram_matrix import best_subset, best_weights, ensemble_error, expert_errors
from routing.ensemble.ranking import ranking, renormalised
from routing.flow.conditions import ConditionedNetwork
from routing.loading.router_data import RouterData
from routing.workflow import devices, seeds

BATCH_SIZE = 2048  # states in one forward pass
Versions = dict[str, Tensor | None]  # temperatures of each version; None: no temperatures


@dataclass(frozen=True, eq=False)
class RouterOutputs:
    """The logits of a router on states, and what is true of these states; on the CPU."""

    logits: Tensor  # [states, experts]
    t: Tensor  # [states]
    cluster: Tensor  # [states]
    gram: Tensor  # [states, experts, experts]


@torch.no_grad()
def evaluate_router(
    net: ConditionedNetwork, data: RouterData, part: str, device: torch.device
) -> RouterOutputs:
    """Return the outputs of the router `net` on all states of a part of the probe."""
    _, states, stored = data.probe(part)
    logits = []
    for first in range(0, len(states), BATCH_SIZE):
        rows = slice(first, first + BATCH_SIZE)
        condition = data.conditions(states.row[rows], states.is_null[rows])
        inputs = devices.to_device((states.x[rows], states.t[rows], condition), device)
        logits.append(devices.to_device(net(*inputs), devices.CPU))
    # For an image in several clusters, one is drawn for each of its states.
    cluster = data.clusters(states.row, seeds.stream(data.root, "membership", 0))
    return RouterOutputs(torch.cat(logits).double(), states.t, cluster, stored["gram"])


def report_table(
    outputs: RouterOutputs, versions: Versions, prior: Tensor, num_bins: int
) -> pd.DataFrame:
    """Return all quantities of all versions by time bin; bins without states are left out."""
    bins = time_bins(outputs.t, num_bins)
    gram = outputs.gram.double()
    parts = []
    for version, temperatures in versions.items():
        p = posterior(outputs, temperatures)
        scores = scores_by_time(p, outputs.cluster, outputs.t, num_bins)
        by_bin = {name: scores[name] for name in ("accuracy", "nll", "ece", "brier", "entropy")}
        rng = seeds.stream(0, "calibration_floor", seeds.name_to_int(version))  # fixed
        by_bin["ece_floor"] = calibration_error_floor(p, outputs.t, num_bins, rng)
        by_bin["confidence"] = mean_by_bin(p.max(1).values, bins, num_bins)
        by_bin |= {
            f"error_{n}": mean_by_bin(e, bins, num_bins)
            for n, e in ensemble_errors(p, gram).items()
        }
        parts.append(_long(version, by_bin, bins, num_bins))
    baselines = {
        "error_prior": ensemble_error(prior.double().expand(len(gram), -1), gram),
        "error_best": expert_errors(gram).min(1).values,
        # best_weights allows for the rounding of the stored type: pass float32, not float64.
        "error_best2": ensemble_error(
            best_subset(outputs.gram, min(2, gram.shape[1])).double(), gram
        ),
        "error_simplex": ensemble_error(best_weights(outputs.gram).double(), gram),
    }
    by_bin = {name: mean_by_bin(error, bins, num_bins) for name, error in baselines.items()}
    parts.append(_long("none", by_bin, bins, num_bins))
    return pd.concat(parts, ignore_index=True)


def ensemble_errors(p: Tensor, gram: Tensor) -> dict[str, Tensor]:
    """Return the squared error [states] of the ensemble under some policies, by their names.

    p: [states, experts], gram: [states, experts, experts].
    """
    found = {"full": ensemble_error(p, gram)}
    for k in range(1, min(2, p.shape[1]) + 1):
        chosen = torch.zeros_like(p, dtype=torch.bool).scatter(1, ranking(p)[:, :k], True)
        found[f"top{k}"] = ensemble_error(renormalised(p, chosen), gram)
    return found | {"sample": (p * expert_errors(gram)).sum(1)}


def reliability_table(outputs: RouterOutputs, versions: Versions) -> pd.DataFrame:
    """Return the reliability diagram over all times, of all versions.

    Columns: version, bin, num_states, confidence, accuracy.
    """
    parts = []
    for version, temperatures in versions.items():
        found = reliability(posterior(outputs, temperatures), outputs.cluster)
        columns = {
            "bin": np.arange(len(found.count)),
            "num_states": found.count.numpy(),
            "confidence": found.confidence.numpy(),
            "accuracy": found.accuracy.numpy(),
        }
        parts.append(pd.DataFrame({"version": version} | columns))
    return pd.concat(parts, ignore_index=True)


def posterior(outputs: RouterOutputs, temperatures: Tensor | None) -> Tensor:
    """Return p [states, experts] of one version."""
    logits = outputs.logits
    if temperatures is not None:
        logits = tempered(logits, outputs.t, temperatures)
    return logits.softmax(1)


def mean_by_bin(values: Tensor, bins: Tensor, num_bins: int) -> Tensor:
    """Return the mean of `values` [states] in each bin; nan for an empty one."""
    sums = values.new_zeros(num_bins, dtype=torch.float64).index_add(0, bins, values.double())
    return sums / bins.bincount(minlength=num_bins)


def _long(version: str, by_bin: dict, bins: Tensor, num_bins: int) -> pd.DataFrame:
    counts = bins.bincount(minlength=num_bins).numpy()
    part = pd.DataFrame({name: np.asarray(values) for name, values in by_bin.items()})
    part = part.assign(
        version=version,
        t_low=np.arange(num_bins) / num_bins,
        t_high=np.arange(1, num_bins + 1) / num_bins,
        num_states=counts,
    )[counts > 0]
    keys = ["version", "t_low", "t_high", "num_states"]
    return part.melt(keys, var_name="quantity", value_name="value")
