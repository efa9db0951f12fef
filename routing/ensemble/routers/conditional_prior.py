"""The router `conditional_prior`: the cluster proportions among the images of a label.

    p_k = n_kc / sum_j n_jc ,  n_kc the number of training images of label c in cluster k

This is the posterior p(k | x_t, t, c) at t = 1, where x_t holds no information. A policy that
draws one expert per trajectory (`sticky`) must draw from it where samples have labels.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from routing.ensemble.routers.base import Cluster, Probs, Router, RouterOptions, X
from routing.ensemble.routers.inputs import RouterInputs
from routing.flow.conditions import Condition
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class ConditionalPrior(Router):
    """The proportion of each cluster among the training images of the sample's label.

    It is the prior for a sample without condition, or whose label no training image has.
    """

    prior: Float[Tensor, " experts"]
    label_counts: Int[Tensor, "experts labels"]

    def start(self, x: X, cluster: Cluster | None, condition: Condition | None = None) -> Probs:
        """Return p(k | label).

        Raises ValueError if the condition has no label or an unknown one.
        """
        return prior_given_condition(condition, self.prior, self.label_counts, x)

    def posterior(self, x: X, t: Time, carry: Probs) -> Probs:
        """Return p(k | label), the same for all states and times."""
        return carry


@dataclass(frozen=True)
class ConditionalPriorOptions(RouterOptions):
    """The proportion of each cluster among the training images of the sample's label."""

    def build(self, inputs: RouterInputs) -> ConditionalPrior:
        """Return the router. Raises ValueError without label counts."""
        (label_counts,) = inputs.require("conditional_prior", "label_counts")
        return ConditionalPrior(inputs.prior, label_counts)


def prior_given_condition(
    condition: Condition | None,
    prior: Float[Tensor, " experts"],
    label_counts: Int[Tensor, "experts labels"] | None,
    x: X,
) -> Probs:
    """Return p(k | condition) of the samples x; the prior without a condition or label counts.

    The label after the last is the null condition, as for networks. Raises ValueError for a
    condition without label, and for a label beyond the null one.
    """
    unconditional = prior.to(x.dtype).repeat(len(x), 1)
    if condition is None or label_counts is None:
        return unconditional
    num_labels, label = label_counts.shape[1], condition.label
    if label is None:
        raise ValueError(
            "a router with label counts needs a label, got a text: choose one that reads text"
        )
    if not ((label >= 0) & (label <= num_labels)).all():
        raise ValueError(
            f"a router with label counts needs labels in 0..{num_labels} ({num_labels}: null), "
            f"got {label.min().item()}..{label.max().item()}: count again or change them"
        )
    counts = pad(label_counts.T, (0, 0, 0, 1))[label.long()].to(x.dtype)
    total = counts.sum(dim=1, keepdim=True)
    return torch.where(total > 0, counts / total, unconditional)
