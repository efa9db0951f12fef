"""The router `confidence`: a Bayes filter over the experts' predictions of the next state.

    log p_k(x_s) = log p_k(x_t) + log N(x_s; mu_k, std^2) + const ,   p = p(k | c) at t = 1

with mu_k and std of the reverse transition t -> s under expert k (`paths.reverse_transition`), the
distribution from which the ancestral sampler draws. As x_0 -> x_s -> x_t is a Markov chain, all
information about k in the states before x_s is also in x_s: with exact transitions,
p(k | all states so far) is p(k | x_s). The transitions used here are Gaussian and leave out the
variance of x_0 given x_t. Along one path they sum to an Ito integral by the left-point rule, so
for small steps p differs from the posterior by an error of order 1/2 in the step.

The cost is the velocities of all experts at every call; no network is trained. Source: Bayes'
rule; compare Handke et al. 2025, arXiv:2506.10433.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from routing.ensemble.routers.base import Cluster, Prediction, Probs, Router, RouterOptions, X
from routing.ensemble.routers.conditional_prior import prior_given_condition
from routing.ensemble.routers.inputs import RouterInputs
from routing.flow.conditions import Condition
from routing.flow.paths import Time, reverse_transition


@dataclass(frozen=True, eq=False)
class ConfidenceCarry:
    """log p_k at the last call, and the state and velocities of all experts there, if any."""

    log_p: Float64[Tensor, "batch experts"]  # up to a constant per sample
    x: Float[Tensor, "batch *dims"] | None = None
    t: Time | None = None
    velocities: Float[Tensor, "batch experts *dims"] | None = None


@dataclass(frozen=True, eq=False)
class Confidence(Router):
    """p_k ~ p(k | c) L_k^(1 / temperature), L_k the likelihood of the trajectory under expert k.

    A temperature above 1 reduces the effect of the likelihood, which helps where the errors of the
    experts add up over many dimensions. Trajectories must start at t = 1 and come from a
    stochastic sampler: the likelihood is that of its noise. A step to t = 0 has no noise and
    leaves p as it is. Without `label_counts` (numbers of training images) the prior is used for
    p(k | c), which is right for unconditional samples.
    """

    prior: Float[Tensor, " experts"]
    temperature: float = 1.0
    label_counts: Int[Tensor, "experts labels"] | None = None
    reads: ClassVar[str] = "velocities"

    def start(
        self, x: X, cluster: Cluster | None, condition: Condition | None = None
    ) -> ConfidenceCarry:
        """Return the carry with p(k | c).

        Raises ValueError if there are label counts and the condition has no label.
        """
        p = prior_given_condition(condition, self.prior, self.label_counts, x)
        return ConfidenceCarry(p.double().log())

    def posterior(self, x: X, t: Time, carry: ConfidenceCarry) -> Probs:
        """Return p, at the first call p(k | c).

        Raises ValueError if t is not less than at the call before.
        """
        return self._log_p(x, t, carry).softmax(dim=1).to(x.dtype)

    def observe(
        self, x: X, t: Time, prediction: Prediction, carry: ConfidenceCarry
    ) -> ConfidenceCarry:
        """Return the carry with log p at x and the velocities of all experts there."""
        assert prediction.velocities is not None, "this router reads velocities"
        return ConfidenceCarry(self._log_p(x, t, carry), x, t, prediction.velocities)

    def _log_p(self, x: X, t: Time, carry: ConfidenceCarry) -> Float64[Tensor, "batch experts"]:
        if carry.x is None:
            return carry.log_p
        if not (t < carry.t).all():
            raise ValueError(
                f"confidence needs times that fall from call to call, got {t.max().item():g} "
                f"after {carry.t.min().item():g}: take a sampler of one call per step (ancestral)"
            )
        v = carry.velocities
        mean, std = reverse_transition(carry.x[:, None].expand_as(v), v, carry.t, t)
        squared = (x[:, None] - mean).flatten(2).square().sum(dim=2, dtype=torch.float64)
        log_likelihood = -0.5 * squared / std[:, None].double().square()
        gain = torch.where(std[:, None] > 0, log_likelihood / self.temperature, 0)
        return carry.log_p + gain


@dataclass(frozen=True)
class ConfidenceOptions(RouterOptions):
    """How well each expert predicted the steps so far; `temperature` > 1 reduces the effect."""

    temperature: float = 1.0
    needs_noise: ClassVar[bool] = True
    uses_label_counts: ClassVar[bool] = True

    def __post_init__(self):
        """Validate the options."""
        if not self.temperature > 0:
            got = self.temperature
            raise ValueError(f"confidence: temperature must be > 0, got {got}: raise it")

    def build(self, inputs: RouterInputs) -> Confidence:
        """Return the router."""
        return Confidence(inputs.prior, self.temperature, inputs.label_counts)
