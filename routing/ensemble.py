"""The ensemble: one velocity field from many experts, at the price of those that are asked.

    v(x_t, t) = sum_k w_k v_k(x_t, t)         over the support of w, w_k > 0

With w = p, the posterior of the clusters, and exact experts this is the velocity of one model
trained on all the data (McAllister et al. 2025, arXiv:2501.05450); any other w departs from it.

`ensemble_velocity` evaluates each expert once, on the samples that give it weight. Every sample
adds its terms in the order of the experts, starting from 0, so what it gets does not depend on
the other samples (beyond what an expert's own matrix products do with the size of a batch).
`RoutedField` is the velocity that a sampler integrates: router, policy and experts along the
trajectories of one batch, with the trace of what was decided and the bill.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.paths import Time, along
from routing.policies import Policy, Probs
from routing.routers import Router

X = Float[Tensor, "batch *dims"]
Expert = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> v_k, one row per sample


def ensemble_velocity(
    experts: Sequence[Expert], w: Probs, x: X, t: Time
) -> tuple[X, Int[Tensor, " experts"]]:
    """The weighted sum of the experts' velocities, and how many samples each expert was given.

    An expert without weight anywhere is not called. Gradients with respect to w are those on its
    support. Raises ValueError unless there is one column of `w` for each expert.
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
            v += along(w[:, k], x) * expert(x, t)
        elif len(rows) > 0:
            v_k = expert(x[rows], t[rows])
            v.index_add_(0, rows, along(w[rows, k], v_k) * v_k)
    return v, evaluations


class RoutedField:
    """The velocity  v(x, t, step)  of one batch along its trajectories, with memory and records.

    `uniforms[b, step]` in [0, 1) is the random number of sample b at that step, the same at all
    stages of the step. `cluster` is for routers that know the sample's true cluster, `seeds`
    names the samples in errors. One object serves one trajectory.

    The trace has an entry for each call: `steps`, `times` [batch], `posteriors` [batch experts]
    (NaN where the policy had no need of one and the router was not asked), `weights`, and with
    `keep_states` the `states` x. The bill counts samples: `expert_evaluations` [experts], and
    `router_evaluations`, networks of the router.
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
    ):
        self.experts, self.router, self.policy = experts, router, policy
        self.uniforms, self.cluster, self.keep_states = uniforms, cluster, keep_states
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

    def __call__(self, x: X, t: Time, step: int) -> X:
        """The velocity at (x, t), within step `step` of the sampler.

        Raises ValueError where the state, the posterior or the velocity of an expert is NaN or
        Inf: one line with the expert, the step, the time and the first seeds of the samples.
        """
        self._check("the state", x, t, step)
        if not self.steps:
            self._router_carry = self.router.start(x, self.cluster)
        p = self._posterior(x, t, step)
        w, self._policy_carry = self.policy(p, t, self.uniforms[:, step], self._policy_carry)
        watched = [self._watched(k, w, step) for k in range(len(self.experts))]
        v, evaluations = ensemble_velocity(watched, w, x, t)
        self._router_carry = self.router.observe(x, t, v, self._router_carry)
        self.expert_evaluations += evaluations
        self.steps.append(step)
        self.times.append(t)
        self.posteriors.append(torch.full_like(w, torch.nan) if p is None else p.detach())
        self.weights.append(w.detach())
        if self.keep_states:
            self.states.append(x.detach().clone())
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

    def _watched(self, k: int, w: Probs, step: int) -> Expert:
        """Expert `k`, with its velocities checked."""

        def expert(x: Tensor, t: Tensor) -> Tensor:
            v = self.experts[k](x, t)
            self._check(f"the velocity of expert {k}", v, t, step, w[:, k] > 0)
            return v

        return expert

    def _check(self, what: str, values: Tensor, t: Time, step: int, asked=...):
        """Raise ValueError unless `values`, rows of the samples `asked`, are finite."""
        if values.isfinite().all():
            return
        is_bad = ~values.isfinite().flatten(1).all(dim=1)
        seeds = self.seeds.to(is_bad.device)[asked][is_bad].tolist()
        where = f"at step {step}, t = {t[is_bad][0].item():.4g}, in {len(seeds)} samples"
        raise ValueError(
            f"{what} must be finite, got nan or inf {where} (seeds "
            f"{', '.join(map(str, seeds[:5]))}): look at the loss curve and the size of the steps"
        )
