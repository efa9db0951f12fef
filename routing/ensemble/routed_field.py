"""The ensemble: one velocity field from many experts, at the price of those that are asked.

    v(x_t, t) = sum_k w_k v_k(x_t, t)         over the support of w, w_k > 0

With w = p, the posterior of the clusters, and exact experts this is the velocity of one model
trained on all the data (McAllister et al. 2025, arXiv:2501.05450); any other w departs from it.

`ensemble_velocity` evaluates each expert once, on the samples that give it weight. Every sample
adds its terms in the order of the experts, starting from 0, so what it gets does not depend on
the other samples (beyond what an expert's own matrix products do with the size of a batch).
`RoutedField` is the velocity that a sampler integrates: router, policy and experts along the
trajectories of one batch, with the trace of what was decided and the bill. With a condition c it
is the conditional branch, experts v_k(x_t, t | c) and a router that is told c as well: then the
identity above holds for p(k | x_t, t, c). `routing.ensemble.guidance` combines the branches.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.ensemble.policies import Policy, Probs
from routing.ensemble.routers import Router, Said
from routing.flow.conditions import Condition
from routing.flow.divergence import EVALUATIONS_PER_PRODUCT, num_products, with_divergence
from routing.flow.paths import Time, along

X = Float[Tensor, "batch *dims"]
Expert = Callable[..., Tensor]  # (x_t, t) or (x_t, t, condition) -> v_k, one row per sample


def ensemble_velocity(
    experts: Sequence[Expert], w: Probs, x: X, t: Time, condition: Condition | None = None
) -> tuple[X, Int[Tensor, " experts"]]:
    """The weighted sum of the experts' velocities, and how many samples each expert was given.

    An expert without weight anywhere is not called; the others get a third argument where there
    is a condition. Gradients with respect to w are those on its support. Raises ValueError
    unless there is one column of `w` for each expert.
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
            v += along(w[:, k], x) * asked(expert, x, t, condition)
        elif len(rows) > 0:
            some = None if condition is None else condition[rows]
            v_k = asked(expert, x[rows], t[rows], some)
            v.index_add_(0, rows, along(w[rows, k], v_k) * v_k)
    return v, evaluations


def asked(expert: Expert, x: X, t: Time, condition: Condition | None) -> X:
    """What the expert says; one that knows no conditions need not take any."""
    return expert(x, t) if condition is None else expert(x, t, condition)


class RoutedField:
    """The velocity  v(x, t, step)  of one batch along its trajectories, with memory and records.

    `uniforms[b, step]` in [0, 1) is the random number of sample b at that step, the same at all
    stages of the step. `cluster` is for routers that know the sample's true cluster, `condition`
    is told to router and experts, `directions` are for divergences (`routing.flow.divergence`)
    if the
    router reads them, `seeds` names the samples in errors. One object serves one trajectory.

    A call is `speak` and `observe`; who follows another velocity, a guided one, say, makes the
    two calls and tells the router which. `speak` is `decide` and, with its weights, `combined`.

    The trace has an entry for each call: `steps`, `times` [batch], `posteriors` [batch experts]
    (NaN where the policy had no need of one and the router was not asked), `weights`, and with
    `keep_states` the `states` x. The bill counts samples: `expert_evaluations` [experts], and
    `router_evaluations`, networks of the router. For a router that `reads` all experts each of
    them evaluates all samples, and a divergence costs two evaluations more for each product.
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
    ):
        assert condition is None or len(condition) == len(uniforms), "one row for each sample"
        self.experts, self.router, self.policy = experts, router, policy
        self.uniforms, self.cluster, self.keep_states = uniforms, cluster, keep_states
        self.condition, self.directions = condition, directions
        self.seeds = torch.arange(len(uniforms)) if seeds is None else seeds
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
        """The velocity at (x, t), within step `step` of the sampler, which the samples follow.

        Raises ValueError where the state, the posterior or the velocity of an expert is NaN or
        Inf: one line with the expert, the step, the time and the first seeds of the samples.
        """
        v = self.speak(x, t, step)
        self.observe(x, t, v)
        return v

    def speak(self, x: X, t: Time, step: int) -> X:
        """The velocity at (x, t), of which the router has not been told yet."""
        return self.combined(self.decide(x, t, step), x, t, step)

    def observe(self, x: X, t: Time, v: X) -> None:
        """Tell the router that the samples follow v at (x, t), where the field has just spoken."""
        said = Said(v, self._velocities, self._divergences)
        self._router_carry = self.router.observe(x, t, said, self._router_carry)

    def decide(self, x: X, t: Time, step: int) -> Probs:
        """The weights of router and policy at (x, t), which go into the trace."""
        self._check("the state", x, t, step)
        if not self.steps:
            self._router_carry = self.router.start(x, self.cluster, self.condition)
        p = self._posterior(x, t, step)
        w, self._policy_carry = self.policy(p, t, self.uniforms[:, step], self._policy_carry)
        self.steps.append(step)
        self.times.append(t)
        self.posteriors.append(torch.full_like(w, torch.nan) if p is None else p.detach())
        self.weights.append(w.detach())
        if self.keep_states:
            self.states.append(x.detach().clone())
        return w

    def combined(self, w: Probs, x: X, t: Time, step: int) -> X:
        """The velocity of this branch with weights `w`, and what else the router reads."""
        if self.router.reads is None:
            return self.weighed(w, x, t, step, self.condition)
        self._hear_all(x, t, step)
        v, w = torch.zeros_like(x), w.to(x.dtype)
        for k, v_k in enumerate(self._velocities.unbind(dim=1)):  # in order: `weighed`, bitwise
            v += along(w[:, k], x) * v_k
        return v

    def weighed(self, w: Probs, x: X, t: Time, step: int, condition: Condition | None) -> X:
        """The sum of the experts on the support of `w`, under any condition, and on the bill."""
        experts = [self._watched(k, w[:, k] > 0, step) for k in range(len(self.experts))]
        v, evaluations = ensemble_velocity(experts, w, x, t, condition)
        self.expert_evaluations += evaluations
        return v

    def switched(self) -> Bool[Tensor, " batch"]:
        """Whether the set of experts of a sample in the last call is not that of the call before.

        False for all after the first call.
        """
        if len(self.weights) < 2:
            return torch.zeros_like(self.uniforms[:, 0], dtype=torch.bool)
        before, now = self.weights[-2] > 0, self.weights[-1] > 0
        return (before != now).any(dim=1)

    def _posterior(self, x: X, t: Time, step: int) -> Probs | None:
        """The router's, if the policy has need of it at any of the times."""
        times = t.unique().tolist()
        if not any(self.policy.needs_posterior(time, self._policy_carry) for time in times):
            return None
        p = self.router.posterior(x, t, self._router_carry)
        self._check("the posterior of the router", p, t, step)
        self.router_evaluations += self.router.network_calls * len(x)
        return p

    def _hear_all(self, x: X, t: Time, step: int) -> None:
        """Evaluate all experts on all samples, with divergences if the router reads them."""
        velocities, divergences = [], []
        for k in range(len(self.experts)):
            expert = self._watched(k, slice(None), step)
            says = partial(asked, expert, t=t, condition=self.condition)
            if self.router.reads == "velocities":
                velocities.append(says(x))
            else:
                v_k, divergence = with_divergence(says, x, self.directions)
                self._check(f"the divergence of expert {k}", divergence[:, None], t, step)
                velocities.append(v_k)
                divergences.append(divergence)
        self._velocities = torch.stack(velocities, dim=1)
        self._divergences = torch.stack(divergences, dim=1) if divergences else None
        evaluations = 1 + EVALUATIONS_PER_PRODUCT * num_products(x) if divergences else 1
        self.expert_evaluations += evaluations * len(x)

    def _watched(self, k: int, rows: Bool[Tensor, " batch"] | slice, step: int) -> Expert:
        """Expert `k`, with its velocities, of these samples, checked."""

        def expert(x: Tensor, t: Tensor, *condition: Condition) -> Tensor:
            v = self.experts[k](x, t, *condition)
            self._check(f"the velocity of expert {k}", v, t, step, rows)
            return v

        return expert

    def _check(self, what: str, values: Tensor, t: Time, step: int, rows=...):
        """Raise ValueError unless `values`, rows of the samples `rows`, are finite."""
        if values.isfinite().all():
            return
        is_bad = ~values.isfinite().flatten(1).all(dim=1)
        seeds = self.seeds.to(is_bad.device)[rows][is_bad].tolist()
        where = f"at step {step}, t = {t[is_bad][0].item():.4g}, in {len(seeds)} samples"
        raise ValueError(
            f"{what} must be finite, got nan or inf {where} (seeds "
            f"{', '.join(map(str, seeds[:5]))}): look at the loss curve and the size of the steps"
        )
