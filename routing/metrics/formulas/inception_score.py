"""Inception score: sure of every single sample, and of all of them together unsure.

With p_i = softmax(logits_i) what a classifier says of sample i, and the samples dealt into splits
of n samples,

    score = exp(mean_i sum_c p_ic (log p_ic - log q_c)) ,    q = mean_i p_i ,

in every split; the mean over splits is the inception score, their standard deviation (ddof 0) its
spread, which is no standard error. From 1 (nothing is told apart) to the number of classes;
higher is better, though no data are looked at. Salimans et al. 2016, arXiv:1606.03498.

It grows with n: compare at equal samples and splits only. In the logits without bias of the
Inception network, in 10 splits, dealt by `torch_fidelity_order`, it is torch-fidelity's number.

A replicate counts sample i w_i times where it is: the deal is of all samples, whoever is left
out. The mean is taken in two parts,  mean_i sum_c p_ic log p_ic - sum_c q_c log q_c , of which the
first knows no split and the second is small; 0 log 0 = 0.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.metrics.formulas.input_checks import weighted_samples
from routing.statistics.errors import TooFewSamples


def torch_fidelity_order(num_samples: int) -> Int[Tensor, " samples"]:
    """How torch-fidelity shuffles the rows before it splits them."""
    # The stream of RandomState is frozen (NumPy's NEP 19), so this is a table, not a draw.
    return torch.from_numpy(np.random.RandomState(2020).permutation(num_samples))


def inception_score(
    logits: Float[Tensor, "samples classes"],
    order: Int[Tensor, " samples"],
    num_splits: int,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """Mean of the splits' scores, in 1..classes; float64. Split i is the i-th part of `order`.

    ValueErrors: checks.py; also on more splits than samples, an order that is none, and a
    replicate that leaves a split without samples.
    """
    return _scores(logits, order, num_splits, weights).mean(dim=1)


def inception_score_spread(
    logits: Float[Tensor, "samples classes"],
    order: Int[Tensor, " samples"],
    num_splits: int,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """Standard deviation (ddof 0) of the splits' scores; float64. As inception_score."""
    return _scores(logits, order, num_splits, weights).std(dim=1, correction=0)


def _scores(
    logits: Float[Tensor, "samples classes"],
    order: Int[Tensor, " samples"],
    num_splits: int,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, "replicates splits"]:
    if not 1 <= num_splits <= len(logits):
        raise TooFewSamples(
            f"num_splits: wanted 1..{len(logits)} (samples), got {num_splits}; 10 is usual"
        )
    x, w = weighted_samples(logits, weights, dim=logits.shape[1], at_least=1)
    if not torch.equal(order.sort().values, torch.arange(len(x), device=order.device)):
        raise ValueError(
            f"order: wanted every sample of 0..{len(x) - 1} once, got another list; "
            "torch_fidelity_order is the usual one"
        )
    ends = [i * len(x) // num_splits for i in range(num_splits + 1)]
    scores = w.new_empty(len(w), num_splits)
    for i in range(num_splits):
        rows = order[ends[i] : ends[i + 1]]
        scores[:, i] = _score(x[rows], w[:, rows], i)
    return scores


def _score(
    x: Float[Tensor, "samples classes"], w: Float[Tensor, "replicates samples"], split: int
) -> Float[Tensor, " replicates"]:
    n = w.sum(dim=1)
    if (n == 0).any():
        raise TooFewSamples(
            f"weights: wanted a sample in every split of every replicate, got none in split "
            f"{split} of replicate {int((n == 0).nonzero()[0, 0])}; take fewer splits"
        )
    log_p = x.log_softmax(dim=1)
    p = log_p.exp()
    q = (w @ p) / n[:, None]
    return ((w @ (p * log_p).sum(dim=1)) / n + torch.special.entr(q).sum(dim=1)).exp()
