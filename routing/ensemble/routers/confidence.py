"""Expert confidence: a Bayes filter that asks which expert foresaw where the sample went.

    log p_k(x_s) = log p_k(x_t) + log N(x_s; mu_k, std^2) + const ,   p = p(k | c) at t = 1

with mu_k and std the reverse transition t -> s under expert k (`paths.reverse_transition`), the
very law that the ancestral sampler draws from. As x_0 -> x_s -> x_t is a Markov chain, what the
states before x_s say of k is also in x_s: with exact transitions, p(k | all states so far) is
p(k | x_s). Those used here are Gaussian and lack the spread of x_0; along one path they sum to
an Ito integral by the left rule, so the filter departs from the posterior by an error of order
1/2 in the step, where steps are small. The velocities of all experts are the price: no network
is trained. Source: Bayes' rule; compare Handke et al. 2025, arXiv:2506.10433.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from routing.ensemble.routers.fixed import prior_given
from routing.ensemble.routers.materials import Materials
from routing.ensemble.routers.protocol import Cluster, Options, Probs, Router, Said, X
from routing.flow.conditions import Condition
from routing.flow.paths import Time, reverse_transition


@dataclass(frozen=True, eq=False)
class Foreseen:
    """What is believed before the next call, and what each expert said at the last one, if any."""

    log_p: Float64[Tensor, "batch experts"]  # up to a constant per sample
    x: Float[Tensor, "batch *dims"] | None = None
    t: Time | None = None
    velocities: Float[Tensor, "batch experts *dims"] | None = None


@dataclass(frozen=True, eq=False)
class Confidence(Router):
    """p_k ~ p(k | c) L_k^(1 / temperature), L_k the likelihood of the trajectory under expert k.

    At a temperature above 1 the evidence counts for less, as it should where experts are wrong
    in many dimensions at once. A trajectory starts at t = 1, and its noise is what is learned
    from: a step of a deterministic sampler tells another story. A step to t = 0 has no noise and
    tells nothing. Without `label_counts` (numbers of training images) the prior stands for
    p(k | c), which is right where nothing is asked for.
    """

    prior: Float[Tensor, " experts"]
    temperature: float = 1.0
    label_counts: Int[Tensor, "experts labels"] | None = None
    reads: ClassVar[str] = "velocities"

    def start(self, x: X, cluster: Cluster | None, condition: Condition | None = None) -> Foreseen:
        """p(k | c). Raises ValueError if the condition has no label and labels are counted."""
        p = prior_given(condition, self.prior, self.label_counts, x)
        return Foreseen(p.double().log())

    def posterior(self, x: X, t: Time, carry: Foreseen) -> Probs:
        """p(k | c) at first. Raises ValueError if time has not fallen since the call before."""
        return self._log_p(x, t, carry).softmax(dim=1).to(x.dtype)

    def observe(self, x: X, t: Time, said: Said, carry: Foreseen) -> Foreseen:
        """What was said, and what the way to here tells."""
        assert said.velocities is not None, "this router reads velocities"
        return Foreseen(self._log_p(x, t, carry), x, t, said.velocities)

    def _log_p(self, x: X, t: Time, carry: Foreseen) -> Float64[Tensor, "batch experts"]:
        if carry.x is None:
            return carry.log_p
        if not (t < carry.t).all():
            raise ValueError(
                f"confidence wants times that fall from call to call, got {t.max().item():g} "
                f"after {carry.t.min().item():g}: take a sampler of one call per step (ancestral)"
            )
        v = carry.velocities
        mean, std = reverse_transition(carry.x[:, None].expand_as(v), v, carry.t, t)
        miss = (x[:, None] - mean).flatten(2).square().sum(dim=2, dtype=torch.float64)
        gain = -0.5 * miss / std[:, None].double().square()
        return carry.log_p + torch.where(std[:, None] > 0, gain / self.temperature, 0)


@dataclass(frozen=True)
class ConfidenceOptions(Options):
    """How well each expert foresaw the steps so far; `temperature` > 1 makes less of it."""

    temperature: float = 1.0
    wants_noise: ClassVar[bool] = True
    counts_labels: ClassVar[bool] = True

    def __post_init__(self):
        if not self.temperature > 0:
            got = self.temperature
            raise ValueError(f"confidence: temperature must be > 0, got {got}: raise it")

    def bind(self, materials: Materials) -> Confidence:
        """The router."""
        return Confidence(materials.prior, self.temperature, materials.label_counts)
