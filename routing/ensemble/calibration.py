"""Calibration of routers: temperature scaling, reliability and scores, by bins of time.

A router is calibrated if the cluster to which it gives probability 0.7 is the true one in 70 % of
the states. All bins of t are equal; bin b of B is  b / B <= t < (b + 1) / B . In each bin one
temperature is fitted after training, and p = softmax(z) is replaced by softmax(z / T_b):

    fit_temperatures        minimises the mean of  log sum_k exp(z_k / T) - z_c / T ,
                            c the true cluster (the negative log-likelihood)
    fit_temperatures_error  minimises the mean of  w^T G w ,  w = softmax(z / T) ,
                            the error of the ensemble (`routing.ensemble.gram_matrix`)

The first is convex in 1 / T: its slope, mean of sum_k p_k (z_k - z_c), has one root. T is limited
to [1 / 20, 20]. It is at the lower end if the largest logit is always right, at the upper end if
the logits are no better than chance. A bin that does not determine T (no states, or logits that
are equal for all experts) has T = 1. Reliability and the expected calibration error (ECE) are over
equal bins of the largest probability. Source: Guo et al. 2017, arXiv:1706.04599.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from routing.ensemble.gram_matrix import Grams, ensemble_error
from routing.ensemble.ranking import ranking
from routing.flow.paths import Time

Logits = Float[Tensor, "batch experts"]
Probs = Float[Tensor, "batch experts"]
Cluster = Int[Tensor, " batch"]
Temperatures = Float[Tensor, " bins"]

MAX_TEMPERATURE = 20.0  # the minimum is 1 / 20
NUM_CANDIDATES = 61  # temperatures evaluated before refinement, in steps of 10 %
GOLDEN = (math.sqrt(5) - 1) / 2


def time_bins(t: Time, num_bins: int) -> Int[Tensor, " batch"]:
    """Return the bin of each time; t = 1 is in the last. In float32, where 0.7 * 10 is 7."""
    return (t.float() * num_bins).long().clamp(0, num_bins - 1)


def tempered(logits: Logits, t: Time, temperatures: Temperatures) -> Logits:
    """Return  z / T_b , b the bin of t: logits whose softmax is calibrated."""
    return logits / temperatures[time_bins(t, len(temperatures))][:, None]


@torch.no_grad()
def fit_temperatures(logits: Logits, cluster: Cluster, t: Time, num_bins: int) -> Temperatures:
    """Return the T_b of least negative log-likelihood in each bin, by bisection in float64.

    Raises ValueError if a logit is not finite.
    """
    z, bins = _finite(logits), time_bins(t, num_bins)
    # Relative to z_c, so that the sums below keep their precision where p_c is near 1.
    z = z - z.gather(1, cluster[:, None].long())
    high = z.new_full((num_bins,), math.log(MAX_TEMPERATURE))
    low = -high  # bounds of log 1 / T; the first point evaluated is T = 1
    for _ in range(60):
        middle = (low + high) / 2
        p = (z * middle.exp()[bins, None]).softmax(1)
        slope = torch.zeros_like(low).index_add(0, bins, (p * z).sum(1))
        low, high = torch.where(slope <= 0, middle, low), torch.where(slope >= 0, middle, high)
    return (-middle).exp().to(logits.dtype)


@torch.no_grad()
def fit_temperatures_error(logits: Logits, gram: Grams, t: Time, num_bins: int) -> Temperatures:
    """Return the T_b of least ensemble error w^T G w in each bin; never worse than T = 1.

    The problem is not convex. The best of NUM_CANDIDATES temperatures, equally spaced in log T, is
    refined by golden-section search between its neighbours. Raises ValueError if a logit is not
    finite.
    """
    z, G, bins = _finite(logits), gram.double(), time_bins(t, num_bins)

    def error(log_t: Tensor) -> Tensor:
        w = (z / log_t.exp()[bins, None]).softmax(1)
        return torch.zeros_like(log_t).index_add(0, bins, ensemble_error(w, G))

    limit = math.log(MAX_TEMPERATURE)
    grid = torch.linspace(-limit, limit, NUM_CANDIDATES, dtype=z.dtype, device=z.device)
    best = torch.stack([error(point.expand(num_bins)) for point in grid]).argmin(0)
    low, high = grid[(best - 1).clamp_min(0)], grid[(best + 1).clamp_max(len(grid) - 1)]
    for _ in range(40):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        is_left = error(left) < error(right)
        low, high = torch.where(is_left, low, left), torch.where(is_left, right, high)
    found, one = (low + high) / 2, torch.zeros_like(low)
    return torch.where(error(found) < error(one), found, one).exp().to(logits.dtype)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence and accuracy by bins of the largest probability; nan in bins without states."""

    count: Int[Tensor, " bins"]
    confidence: Float[Tensor, " bins"]  # mean of the largest probability
    accuracy: Float[Tensor, " bins"]  # proportion of states whose most probable expert is right


def reliability(p: Probs, cluster: Cluster, num_bins: int = 10) -> Reliability:
    """Return the reliability diagram of a router: accuracy by confidence, in float64."""
    confidence, right = _confidence(p, cluster)
    bins = _confidence_bins(confidence, num_bins)
    count = torch.bincount(bins, minlength=num_bins)
    return Reliability(
        count=count,
        confidence=_sums(confidence, bins, num_bins) / count,
        accuracy=_sums(right, bins, num_bins) / count,
    )


def calibration_error(
    confidence: Float[Tensor, " batch"], right: Float[Tensor, " batch"], num_bins: int = 10
) -> float:
    """Return the ECE: mean |accuracy - confidence| over equal bins, weighted by their counts."""
    gaps = _sums(right - confidence, _confidence_bins(confidence, num_bins), num_bins)
    return (gaps.abs().sum() / len(confidence)).item()


def scores_by_time(
    p: Probs, cluster: Cluster, t: Time, num_bins: int
) -> dict[str, Float[Tensor, " bins"]]:
    """Return scores of a router by bins of time: float64, nan in bins without states.

    accuracy    of the most probable expert; ties go to the lower index
    nll         mean of -log p_c, nats
    ece         over 10 bins of confidence
    brier       mean of sum_k (p_k - [k = c])^2, in 0..2
    entropy     mean of -sum_k p_k log p_k, nats: equal to nll in expectation for an exact router
    count       number of states
    """
    p, bins = p.double(), time_bins(t, num_bins)
    confidence, right = _confidence(p, cluster)
    count = torch.bincount(bins, minlength=num_bins).double()
    per_state = {
        "accuracy": right,
        "nll": -p.gather(1, cluster[:, None].long())[:, 0].log(),
        "brier": (p - one_hot(cluster.long(), p.shape[1])).square().sum(1),
        "entropy": torch.special.entr(p).sum(1),
    }
    scores = {name: _sums(value, bins, num_bins) / count for name, value in per_state.items()}
    cells = bins * 10 + _confidence_bins(confidence, 10)
    gaps = _sums(right - confidence, cells, num_bins * 10).unflatten(0, (num_bins, 10))
    return scores | {"ece": gaps.abs().sum(1) / count, "count": count}


def calibration_error_floor(
    p: Probs, t: Time, num_bins: int, rng: np.random.Generator, num_draws: int = 100
) -> Float[Tensor, " bins"]:
    """Return the ECE of an exactly calibrated router with the same probabilities, by bins of time.

    The ECE is a mean of absolute values, so it is positive for finitely many states even if p is
    exact. Here the clusters are drawn from p, and `ece` of scores_by_time is averaged over the
    draws. Only whether the most probable expert is right matters, which is so with probability
    max_k p_k. Float64, nan in bins without states.
    """
    confidence, bins = p.double().amax(1), time_bins(t, num_bins)
    cells = bins * 10 + _confidence_bins(confidence, 10)
    total = confidence.new_zeros(num_bins * 10)
    for _ in range(num_draws):
        right = (torch.from_numpy(rng.random(len(p))) < confidence).double()
        total += _sums(right - confidence, cells, num_bins * 10).abs()
    by_bin = total.unflatten(0, (num_bins, 10)).sum(1) / num_draws
    return by_bin / torch.bincount(bins, minlength=num_bins)


def _confidence(p: Tensor, cluster: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest probability of each state, and 1 if it is that of its cluster, else 0."""
    predicted = ranking(p)[:, :1]
    return p.double().gather(1, predicted)[:, 0], (predicted[:, 0] == cluster).double()


def _confidence_bins(confidence: Tensor, num_bins: int) -> Tensor:
    return (confidence * num_bins).long().clamp(max=num_bins - 1)


def _sums(values: Tensor, bins: Tensor, num: int) -> Tensor:
    return values.new_zeros(num).index_add(0, bins, values)


def _finite(logits: Tensor) -> Tensor:
    """Return the logits in float64. Raises ValueError if one is not finite."""
    if not logits.isfinite().all():
        raise ValueError(
            "temperatures: logits must be finite, got nan or inf: clamp log p where p is 0"
        )
    return logits.double()
