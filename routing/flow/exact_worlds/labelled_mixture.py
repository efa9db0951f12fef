"""A Gaussian mixture whose components have labels: the conditional world, in closed form.

Component j has a weight pi_j, a label c_j, and by a partition a cluster k_j; labels and clusters
need not be aligned. Restricting a mixture is conditioning it, so that with  r_j = p_t(j | x_t)

    p(c | x_t, t)       = sum over c_j = c of r_j
    p(k | x_t, t, c)    = sum over k_j = k, c_j = c of r_j / p(c | x_t, t)
    v(x_t, t | c)       = the velocity of the components with c_j = c           the monolith
    v_k(x_t, t | c)     = that of the components with k_j = k and c_j = c       expert k
    v(x_t, t | c)       = sum_k p(k | x_t, t, c) v_k(x_t, t | c)

and the same without c. The difference of the branches is the classifier that gave classifier-free
guidance its name,  v(x_t, t | c) - v(x_t, t) = -(t / (1 - t)) grad log p(c | x_t, t).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.flow.conditions import Condition
from routing.flow.exact_worlds.gaussian_mixture import Mixture, Points
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class LabelledMixture:
    """A mixture with one label in 0..num_labels - 1 for each component.

    Conditions have labels per sample; as for networks, the label `num_labels` is the null
    condition. A label that no component has is the null condition too: this matters in a
    cluster without it, whose expert stays finite and has probability 0. Raises ValueError
    unless there is a label in range for each component.
    """

    mixture: Mixture
    label_of_component: Int[Tensor, " components"]
    num_labels: int

    def __post_init__(self):
        """Refuse labels that are not those of the components."""
        labels, num = self.label_of_component, len(self.mixture.weights)
        if len(labels) != num or (labels < 0).any() or (labels >= self.num_labels).any():
            raise ValueError(
                f"labelled mixture: wanted {num} labels in 0..{self.num_labels - 1}, one for "
                f"each component, got {labels.tolist()}: change labels or num_labels"
            )

    def posterior(
        self, x: Points, t: Time, condition: Condition | None = None
    ) -> Float[Tensor, "batch components"]:
        """p_t(j | x, c) of each component; rows sum to 1."""
        return self.mixture.posterior(x, t, self._among(condition))

    def cluster_posterior(
        self,
        x: Points,
        t: Time,
        cluster_of_component: Int[Tensor, " components"],
        num_clusters: int,
        condition: Condition | None = None,
    ) -> Float[Tensor, "batch clusters"]:
        """p_t(k | x, c), the exact router of a condition."""
        among = self._among(condition)
        return self.mixture.cluster_posterior(x, t, cluster_of_component, num_clusters, among)

    def velocity(self, x: Points, t: Time, condition: Condition | None = None) -> Points:
        """E[eps - x_0 | x_t = x, c]: an expert, or the monolith where this is the whole."""
        return self.mixture.velocity(x, t, self._among(condition))

    def restrict(self, components: Int[Tensor, " subset"]) -> "LabelledMixture":
        """The world of these components alone; its `velocity` is the expert of a cluster."""
        labels = self.label_of_component[components]
        return LabelledMixture(self.mixture.restrict(components), labels, self.num_labels)

    def _among(self, condition: Condition | None) -> Bool[Tensor, "batch components"] | None:
        """The components with the label of each sample, or all; None is all for all."""
        if condition is None:
            return None
        label = condition.label
        if label is None or condition.text is not None:
            got = "a text" if label is None else "a label and a text"
            raise ValueError(f"labelled mixture: conditions must be labels, got {got}: drop it")
        if (label < 0).any() or (label > self.num_labels).any():
            raise ValueError(
                f"labelled mixture: labels must be in 0..{self.num_labels} ({self.num_labels}: "
                f"null), got {label.min()}..{label.max()}: change them or num_labels"
            )
        has_label = label[:, None] == self.label_of_component
        weighs = self.mixture.weights > 0
        is_null = ~(has_label & weighs).any(dim=1, keepdim=True)
        return torch.where(is_null, torch.ones_like(has_label), has_label)
