"""Inception score: high if each sample has a confident class, and all classes occur equally.

With p_i = softmax(logits_i) the class probabilities of sample i, and splits of n samples each,

    score = exp(mean_i sum_c p_ic (log p_ic - log q_c)) ,    q = mean_i p_i ,

in every split. The mean over splits is the inception score. Their standard deviation (ddof 0) is
its spread, which is not a standard error. The score is between 1 (all p_i equal) and the number of
classes. Higher is better, but the training images are not used.
Source: Salimans et al. 2016, arXiv:1606.03498.

It grows with n: compare at equal numbers of samples and splits only. With the logits of the
Inception network without bias, and 10 splits in `torch_fidelity_order`, it is the number of
torch-fidelity.

A replicate counts sample i w_i times; splits are of all samples, whichever are left out. The mean
is computed in two parts,  mean_i sum_c p_ic log p_ic - sum_c q_c log q_c , with 0 log 0 = 0.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.metrics.formulas.input_checks import weighted_samples
from routing.statistics.errors import TooFewSamples


def torch_fidelity_order(num_samples: int) -> Int[Tensor, " samples"]:
    """Return the permutation of the rows that torch-fidelity applies before it splits them."""
    # The stream of RandomState is frozen (NumPy's NEP 19), so this is a fixed table.
    return torch.from_numpy(np.random.RandomState(2020).permutation(num_samples))


def inception_score(
    logits: Float[Tensor, "samples classes"],
    order: Int[Tensor, " samples"],
    num_splits: int,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """Return the mean score of the splits, in 1..classes, float64.

    Split i is the i-th part of `order`. Raises ValueError as weighted_samples, on more splits than
    samples, on an `order` that is not a permutation, and on a replicate that leaves a split empty.
    """
    return _scores(logits, order, num_splits, weights).mean(dim=1)


def inception_score_spread(
    logits: Float[Tensor, "samples classes"],
    order: Int[Tensor, " samples"],
    num_splits: int,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """Return the standard deviation (ddof 0) of the splits' scores, float64."""
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
