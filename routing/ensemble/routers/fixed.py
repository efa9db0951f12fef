"""Posteriors that do not look at the state: of the data, the condition or the sample's cluster.

    prior              p_k = pi_k, the share of cluster k in the data
    uniform            p_k = 1 / K
    oracle_label       p_k = 1 for the true cluster of the sample
    conditional_prior  p_k = n_kc / sum_j n_jc ,  n_kc the training images of label c in cluster k

The last is the posterior at t = 1, where x_t says nothing, of an ensemble asked for label c: what
a policy that draws one expert per trajectory must draw from.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, pad

from routing.ensemble.routers.materials import Materials
from routing.ensemble.routers.protocol import Cluster, Options, Probs, Router, X
from routing.flow.conditions import Condition
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class Prior(Router):
    """The same posterior for all states: the share of each cluster in the data."""

    prior: Float[Tensor, " experts"]

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """p = prior."""
        return self.prior.to(x.dtype).repeat(len(x), 1)


@dataclass(frozen=True)
class Uniform(Router):
    """All experts alike."""

    num_experts: int

    def posterior(self, x: X, t: Time, carry: Any) -> Probs:
        """p = 1 / num_experts."""
        return x.new_full((len(x), self.num_experts), 1 / self.num_experts)


@dataclass(frozen=True)
class OracleLabel(Router):
    """The cluster that the sample is meant to be from, known from outside."""

    num_experts: int

    def start(self, x: X, cluster: Cluster | None, condition: Condition | None = None) -> Cluster:
        """The clusters. Raises ValueError if there are none."""
        if cluster is None:
            raise ValueError("oracle_label needs every sample's cluster, got none: give them")
        return cluster

    def posterior(self, x: X, t: Time, carry: Cluster) -> Probs:
        """One-hot rows."""
        return one_hot(carry.long(), self.num_experts).to(x.dtype)


@dataclass(frozen=True, eq=False)
class ConditionalPrior(Router):
    """The share of each cluster among the training images of the sample's label.

    The prior where nothing is asked for, or a label that no training image has.
    """

    prior: Float[Tensor, " experts"]
    label_counts: Int[Tensor, "experts labels"]

    def start(self, x: X, cluster: Cluster | None, condition: Condition | None = None) -> Probs:
        """The rows. Raises ValueError if the condition has no label or one that is not known."""
        return prior_given(condition, self.prior, self.label_counts, x)

    def posterior(self, x: X, t: Time, carry: Probs) -> Probs:
        """p = p(k | label), at all states and times."""
        return carry


def prior_given(
    condition: Condition | None,
    prior: Float[Tensor, " experts"],
    label_counts: Int[Tensor, "experts labels"] | None,
    x: X,
) -> Probs:
    """p(k | condition) of the samples x: the prior without a condition or counts to go by.

    The label after the last is the null condition, as for networks. Raises ValueError for a
    condition without label, and for a label beyond that.
    """
    unconditional = prior.to(x.dtype).repeat(len(x), 1)
    if condition is None or label_counts is None:
        return unconditional
    num_labels, label = label_counts.shape[1], condition.label
    if label is None:
        raise ValueError(
            "a router that counts labels wants a label, got a text: choose one that reads text"
        )
    if not ((label >= 0) & (label <= num_labels)).all():
        raise ValueError(
            f"a router that counts labels wants them in 0..{num_labels} ({num_labels}: null), "
            f"got {label.min().item()}..{label.max().item()}: count again or change them"
        )
    counts = pad(label_counts.T, (0, 0, 0, 1))[label.long()].to(x.dtype)
    total = counts.sum(dim=1, keepdim=True)
    return torch.where(total > 0, counts / total, unconditional)


@dataclass(frozen=True)
class PriorOptions(Options):
    """The share of each cluster in the data, whatever the state."""

    def bind(self, materials: Materials) -> Prior:
        """The router."""
        return Prior(materials.prior)


@dataclass(frozen=True)
class UniformOptions(Options):
    """All experts alike, whatever the state."""

    def bind(self, materials: Materials) -> Uniform:
        """The router."""
        return Uniform(len(materials.prior))


@dataclass(frozen=True)
class OracleLabelOptions(Options):
    """The cluster that the sample is meant to be from."""

    def bind(self, materials: Materials) -> OracleLabel:
        """The router."""
        return OracleLabel(len(materials.prior))


@dataclass(frozen=True)
class ConditionalPriorOptions(Options):
    """The share of each cluster among the training images of the label that is asked for."""

    def bind(self, materials: Materials) -> ConditionalPrior:
        """The router. Raises ValueError without the counts of the labels."""
        (label_counts,) = materials.need("conditional_prior", "label_counts")
        return ConditionalPrior(materials.prior, label_counts)
