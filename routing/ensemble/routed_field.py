"""The routed velocity field: a weighted sum of the experts that have weight.

    v(x_t, t) = sum_k w_k v_k(x_t, t)         over the support of w, w_k > 0

With w = p, the posterior of the clusters, and exact experts this is the velocity of one model
trained on all the data (McAllister et al. 2025, arXiv:2501.05450). With other weights it differs.

`ensemble_velocity` evaluates each expert once, on the samples that give it weight. The terms of
each sample are added in the order of the experts, starting from 0, so the result for a sample does
not depend on the other samples (except through the experts' own matrix products, whose rounding
may depend on the batch size).

`RoutedField` is the velocity that a sampler integrates: router, policy and experts along the
trajectories of one batch, with a trace of posteriors and weights and the number of evaluations.
With a condition c it is the conditional branch, with experts v_k(x_t, t | c) and c as input of the
router; the identity above then holds for p(k | x_t, t, c). `routing.ensemble.guidance` combines
the branches.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.ensemble.policies import Policy, Probs
from routing.ensemble.routers import Prediction, Router
from routing.ensemble.value_checks import ValueChecks
from routing.flow.conditions import Condition
from routing.flow.divergence import EVALUATIONS_PER_PRODUCT, num_products, with_divergence
from routing.flow.paths import Time, append_dims

X = Float[Tensor, "batch *dims"]
Expert = Callable[..., Tensor]  # (x_t, t) or (x_t, t, condition) -> v_k, one row per sample


def ensemble_velocity(
    experts: Sequence[Expert], w: Probs, x: X, t: Time, condition: Condition | None = None
) -> tuple[X, Int[Tensor, " experts"]]:
    """Return the weighted sum of the experts' velocities, and the number of samples per expert.

    An expert without weight on any sample is not called. If there is a condition, the others get
    it as third argument. Gradients with respect to w are zero outside its support. Raises
    ValueError unless `w` has one column for each expert.
    """
    if len(experts) != w.shape[1]:
        raise ValueError(
            f"weights must have one column per expert, {len(experts)}, got {w.shape[1]}: "
            "router and experts must be of one partition"
        )
    support = w > 0
    evaluations = support.sum(dim=0)
    rows_of = support.T.nonzero()[:, 1].split(evaluations.tolist())
    w = w.to(x.dtype)
    v = torch.zeros_like(x)
    for k, (expert, rows) in enumerate(zip(experts, rows_of, strict=True)):
        if len(rows) == len(x):
            v += append_dims(w[:, k], x) * evaluate(expert, x, t, condition)
        elif len(rows) > 0:
            some = None if condition is None else condition[rows]
            v_k = evaluate(expert, x[rows], t[rows], some)
            v.index_add_(0, rows, append_dims(w[rows, k], v_k) * v_k)
    return v, evaluations


def evaluate(expert: Expert, x: X, t: Time, condition: Condition | None) -> X:
    """Return the expert's velocity; an unconditional expert needs no third argument."""
    return expert(x, t) if condition is None else expert(x, t, condition)


class RoutedField:
    """The velocity  v(x, t, step)  of one batch along its trajectories. It has state.

    `uniforms[b, step]` in [0, 1) is the random number of sample b at that step, the same at all
    stages of the step. `cluster` is for routers that use the sample's true cluster, `condition`
    goes to router and experts, `directions` are for divergences (`routing.flow.divergence`) if the
    router reads them, `seeds` identify the samples in errors, `router_name` and `policy_name` the
    rows. One object serves one trajectory.

    A call is `velocity` followed by `observe`. A caller that follows another velocity, such as a
    guided one, calls the two itself and passes that velocity to `observe`. `velocity` is
    `routing_weights` followed by `velocity_with_weights`.

    The trace has an entry for each call: `steps`, `times` [batch], `posteriors` [batch experts]
    (NaN where the policy did not need it and the router was not evaluated), `weights`, and with
    `keep_states` the `states` x. The cost is counted in samples: `expert_evaluations` [experts],
    and `router_evaluations` for networks of the router. If the router `reads` all experts, each of
    them evaluates all samples, and a divergence costs two more evaluations for each product.
    """

    def __init__(
        self,
        experts: Sequence[Expert],
        router: Router,
        policy: Policy,
        uniforms: Float[Tensor, "batch steps"],
        cluster: Int[Tensor, " batch"] | None = None,
        seeds: Int[Tensor, " batch"] | None = None,
        keep_states: bool = False,
        condition: Condition | None = None,
        directions: X | None = None,
        router_name: str | None = None,
        policy_name: str | None = None,
    ):
        assert condition is None or len(condition) == len(uniforms), "one row for each sample"
        self.experts, self.router, self.policy = experts, router, policy
        self.uniforms, self.cluster, self.keep_states = uniforms, cluster, keep_states
        self.condition, self.directions = condition, directions
        self.router_name = router_name or type(router).__name__
        self.policy_name = policy_name or type(policy).__name__
        self.checks = ValueChecks(torch.arange(len(uniforms)) if seeds is None else seeds)
        self.steps: list[int] = []
        self.times: list[Tensor] = []
        self.posteriors: list[Tensor] = []
        self.weights: list[Tensor] = []
        self.states: list[Tensor] = []
        self.expert_evaluations = torch.zeros(
            len(experts), dtype=torch.int64, device=uniforms.device
        )
        self.router_evaluations = 0
        self._router_carry = self._policy_carry = None
        self._velocities = self._divergences = None  # of all experts, for a router that reads them

    def __call__(self, x: X, t: Time, step: int) -> X:
        """Return the velocity at (x, t), in step `step` of the sampler, which the samples follow.

        Raises ValueError if the state, the posterior or the velocity of an expert is NaN or Inf,
        or if the rows of the posterior or of the policy's weights are not probabilities; the
        message has the expert, router or policy, the step, the time and the first seeds of the
        samples.
        """
        v = self.velocity(x, t, step)
        self.observe(x, t, v)
        return v

    def velocity(self, x: X, t: Time, step: int) -> X:
        """Return the velocity at (x, t), without updating the router; `observe` must follow."""
        return self.velocity_with_weights(self.routing_weights(x, t, step), x, t, step)

    def observe(self, x: X, t: Time, v: X) -> None:
        """Update the router with the velocity `v` that the samples follow from (x, t)."""
        prediction = Prediction(v, self._velocities, self._divergences)
        self._router_carry = self.router.observe(x, t, prediction, self._router_carry)

    def routing_weights(self, x: X, t: Time, step: int) -> Probs:
        """Return the weights of router and policy at (x, t), and add them to the trace."""
        self.checks.finite("the state", x, t, step)
        if not self.steps:
            self._router_carry = self.router.start(x, self.cluster, self.condition)
        p = self._posterior(x, t, step)
        w, self._policy_carry = self._weights(p, t, step)
        self.steps.append(step)
        self.times.append(t)
        self.posteriors.append(torch.full_like(w, torch.nan) if p is None else p.detach())
        self.weights.append(w.detach())
        if self.keep_states:
            self.states.append(x.detach().clone())
        return w

    def velocity_with_weights(self, w: Probs, x: X, t: Time, step: int) -> X:
        """Return the velocity of this branch with weights `w`.

        If the router reads all experts, all are evaluated, and their outputs are kept for
        `observe`.
        """
        if self.router.reads is None:
            return self.weighted_velocity(w, x, t, step, self.condition)
        self._evaluate_all(x, t, step)
        v, w = torch.zeros_like(x), w.to(x.dtype)
        # In the order of the experts, so that the sum is bitwise that of `weighted_velocity`.
        for k, v_k in enumerate(self._velocities.unbind(dim=1)):
            v += append_dims(w[:, k], x) * v_k
        return v

    def weighted_velocity(
        self, w: Probs, x: X, t: Time, step: int, condition: Condition | None
    ) -> X:
        """Return the weighted sum of the experts with weight, given any condition.

        The evaluations are counted.
        """
        experts = [self._checked_expert(k, w[:, k] > 0, step) for k in range(len(self.experts))]
        v, evaluations = ensemble_velocity(experts, w, x, t, condition)
        self.expert_evaluations += evaluations
        return v

    def expert_set_changed(self) -> Bool[Tensor, " batch"]:
        """Return whether the experts with weight differ between the last two calls.

        False for all samples after the first call.
        """
        if len(self.weights) < 2:
            return torch.zeros_like(self.uniforms[:, 0], dtype=torch.bool)
        before, now = self.weights[-2] > 0, self.weights[-1] > 0
        return (before != now).any(dim=1)

    def _posterior(self, x: X, t: Time, step: int) -> Probs | None:
        """Return the router's posterior, or None if the policy needs it at none of the times."""
        times = t.unique().tolist()
        if not any(self.policy.needs_posterior(time, self._policy_carry) for time in times):
            return None
        p = self.router.posterior(x, t, self._router_carry)
        what = f"the posterior of the router {self.router_name!r}"
        self.checks.probabilities(what, p, len(self.experts), t, step)
        self.router_evaluations += self.router.network_calls * len(x)
        return p

    def _weights(self, p: Probs | None, t: Time, step: int) -> tuple[Probs, Any]:
        """Return the policy's weights and its carry."""
        what = f"policy {self.policy_name!r}"
        found = self.policy(p, t, self.uniforms[:, step], self._policy_carry)
        if not (isinstance(found, tuple) and len(found) == 2):
            raise ValueError(
                f"{what}: wanted a pair (weights, carry), got a {type(found).__name__}; "
                f"return both"
            )
        weights = f"the weights of {what}"
        self.checks.probabilities(weights, found[0], len(self.experts), t, step)
        return found

    def _evaluate_all(self, x: X, t: Time, step: int) -> None:
        """Evaluate all experts on all samples, with divergences if the router reads them."""
        velocities, divergences = [], []
        for k in range(len(self.experts)):
            expert = self._checked_expert(k, slice(None), step)
            field = partial(evaluate, expert, t=t, condition=self.condition)
            if self.router.reads == "velocities":
                velocities.append(field(x))
            else:
                v_k, divergence = with_divergence(field, x, self.directions)
                self.checks.finite(f"the divergence of expert {k}", divergence[:, None], t, step)
                velocities.append(v_k)
                divergences.append(divergence)
        self._velocities = torch.stack(velocities, dim=1)
        self._divergences = torch.stack(divergences, dim=1) if divergences else None
        evaluations = 1 + EVALUATIONS_PER_PRODUCT * num_products(x) if divergences else 1
        self.expert_evaluations += evaluations * len(x)

    def _checked_expert(self, k: int, rows: Bool[Tensor, " batch"] | slice, step: int) -> Expert:
        """Return expert `k`, which raises ValueError if its velocities are not finite.

        `rows` are the samples on which it will be evaluated.
        """

        def expert(x: Tensor, t: Tensor, *condition: Condition) -> Tensor:
            v = self.experts[k](x, t, *condition)
            self.checks.finite(f"the velocity of expert {k}", v, t, step, rows)
            return v

        return expert
