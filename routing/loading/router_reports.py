"""What a learned router is worth on held-out states, by time, as tables.

`report_table` is long (version, t_low, t_high, quantity, value, num_states); a version is the
router as it is ("raw") or with fitted temperatures. Quantities, means over the states of a bin:

    accuracy, nll, ece, brier, entropy, confidence    of p against the true cluster (nats);
                                                  confidence is the mean of the largest p
    error_full, error_top1, error_top2, error_sample   w^T G w with w = p, its one or two largest,
                                                  and the mean of one expert drawn from p
    error_prior, error_best, error_best2, error_simplex   the same of the prior as weights, of the
                                                  best one, two or all experts with the best
                                                  weights of each state (floors that know the
                                                  noise; version "none")
"""

from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from routing.ensemble.calibration import reliability, scores_by_time, tempered, time_bins
from routing.ensemble.gram_matrix import best_subset, best_weights, ensemble_error, expert_errors
from routing.ensemble.ranking import ranking, renormalised

Versions = dict[str, Tensor | None]  # temperatures by name; None: as it is


@runtime_checkable
class Answers(Protocol):
    """A router's logits on states, beside what is true there."""

    logits: Tensor  # [states, experts]
    t: Tensor  # [states]
    cluster: Tensor  # [states]
    gram: Tensor  # [states, experts, experts]


def report_table(
    answers: Answers, versions: Versions, prior: Tensor, num_bins: int
) -> pd.DataFrame:
    """All quantities of all versions by time bin; bins without states are left out."""
    bins = time_bins(answers.t, num_bins)
    gram = answers.gram.double()
    parts = []
    for version, temperatures in versions.items():
        p = posterior(answers, temperatures)
        scores = scores_by_time(p, answers.cluster, answers.t, num_bins)
        by_bin = {name: scores[name] for name in ("accuracy", "nll", "ece", "brier", "entropy")}
        by_bin["confidence"] = binned(p.max(1).values, bins, num_bins)
        by_bin |= {f"error_{n}": binned(e, bins, num_bins) for n, e in errors(p, gram).items()}
        parts.append(_long(version, by_bin, bins, num_bins))
    floors = {
        "error_prior": ensemble_error(prior.double().expand(len(gram), -1), gram),
        "error_best": expert_errors(gram).min(1).values,
        # By its own type a Gram says how far it is rounded; the best weights hang on that.
        "error_best2": ensemble_error(
            best_subset(answers.gram, min(2, gram.shape[1])).double(), gram
        ),
        "error_simplex": ensemble_error(best_weights(answers.gram).double(), gram),
    }
    by_bin = {name: binned(error, bins, num_bins) for name, error in floors.items()}
    parts.append(_long("none", by_bin, bins, num_bins))
    return pd.concat(parts, ignore_index=True)


def errors(p: Tensor, gram: Tensor) -> dict[str, Tensor]:
    """Squared error of the ensemble on every state, under the plain policies."""
    found = {"full": ensemble_error(p, gram)}
    for k in range(1, min(2, p.shape[1]) + 1):
        chosen = torch.zeros_like(p, dtype=torch.bool).scatter(1, ranking(p)[:, :k], True)
        found[f"top{k}"] = ensemble_error(renormalised(p, chosen), gram)
    return found | {"sample": (p * expert_errors(gram)).sum(1)}


def reliability_table(answers: Answers, versions: Versions) -> pd.DataFrame:
    """version, bin, num_states, confidence, accuracy: the reliability diagram over all times."""
    parts = []
    for version, temperatures in versions.items():
        found = reliability(posterior(answers, temperatures), answers.cluster)
        columns = {
            "bin": np.arange(len(found.count)),
            "num_states": found.count.numpy(),
            "confidence": found.confidence.numpy(),
            "accuracy": found.accuracy.numpy(),
        }
        parts.append(pd.DataFrame({"version": version} | columns))
    return pd.concat(parts, ignore_index=True)


def posterior(answers: Answers, temperatures: Tensor | None) -> Tensor:
    """p of one version."""
    logits = answers.logits
    if temperatures is not None:
        logits = tempered(logits, answers.t, temperatures)
    return logits.softmax(1)


def binned(values: Tensor, bins: Tensor, num_bins: int) -> Tensor:
    """Mean of `values` in each bin; nan where it is empty."""
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
