"""A Gaussian mixture whose components have labels: conditional routing in closed form.

Component j has a weight pi_j, a label c_j, and a cluster k_j from a partition; labels and clusters
need not be aligned. Conditioning on a label restricts the mixture, so with  r_j = p_t(j | x_t)

    p(c | x_t, t)       = sum over c_j = c of r_j
    p(k | x_t, t, c)    = sum over k_j = k, c_j = c of r_j / p(c | x_t, t)
    v(x_t, t | c)       = the velocity of the components with c_j = c           the monolith
    v_k(x_t, t | c)     = that of the components with k_j = k and c_j = c       expert k
    v(x_t, t | c)       = sum_k p(k | x_t, t, c) v_k(x_t, t | c)

and the same without c. The difference of the conditional and the null branch is the gradient of
an implicit classifier,  v(x_t, t | c) - v(x_t, t) = -(t / (1 - t)) grad log p(c | x_t, t).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.flow.conditions import Condition
from routing.flow.exact_worlds.gaussian_mixture import ComponentMask, GaussianMixture, Points
from routing.flow.paths import Time


@dataclass(frozen=True, eq=False)
class LabelledMixture:
    """A Gaussian mixture with one label in 0..num_labels - 1 for each component.

    Conditions are labels. As for networks, the label `num_labels` is the null condition. A label
    that no component has is treated as the null condition too, so that the expert of a cluster
    without that label stays finite; its probability is 0. Raises ValueError unless each component
    has a label in range.
    """

    mixture: GaussianMixture
    label_of_component: Int[Tensor, " components"]
    num_labels: int

    def __post_init__(self):
        """Validate the labels."""
        labels, num = self.label_of_component, len(self.mixture.weights)
        if len(labels) != num or (labels < 0).any() or (labels >= self.num_labels).any():
            raise ValueError(
                f"labelled mixture: wanted {num} labels in 0..{self.num_labels - 1}, one for "
                f"each component, got {labels.tolist()}: change labels or num_labels"
            )

    def posterior(
        self, x: Points, t: Time, condition: Condition | None = None
    ) -> Float[Tensor, "batch components"]:
        """Return p_t(j | x, c) of each component; rows sum to 1."""
        return self.mixture.posterior(x, t, self._component_mask(condition))

    def cluster_posterior(
        self,
        x: Points,
        t: Time,
        cluster_of_component: Int[Tensor, " components"],
        num_clusters: int,
        condition: Condition | None = None,
    ) -> Float[Tensor, "batch clusters"]:
        """Return p_t(k | x, c), the exact router given a condition."""
        mask = self._component_mask(condition)
        return self.mixture.cluster_posterior(x, t, cluster_of_component, num_clusters, mask)

    def velocity(self, x: Points, t: Time, condition: Condition | None = None) -> Points:
        """Return E[eps - x_0 | x_t = x, c], the velocity of a perfect model of this mixture."""
        return self.mixture.velocity(x, t, self._component_mask(condition))

    def restrict(self, components: Int[Tensor, " subset"]) -> "LabelledMixture":
        """Return the mixture of these components; its `velocity` is the expert of a cluster."""
        labels = self.label_of_component[components]
        return LabelledMixture(self.mixture.restrict(components), labels, self.num_labels)

    def _component_mask(self, condition: Condition | None) -> ComponentMask | None:
        """Return the components with the label of each sample; None allows all components."""
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
