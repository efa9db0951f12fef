"""A Gaussian mixture, the world where every router and expert has a closed form.

Data x_0 ~ sum_c pi_c N(m_c, S_c). On the path x_t = alpha x_0 + sigma eps, with alpha = 1 - t
and sigma = t, component c is N(alpha m_c, C_c),  C_c = alpha^2 S_c + sigma^2 I.  One
decomposition S_c = U diag(L) U^T serves every t; with  y = U^T (x_t - alpha m_c)  and
var = alpha^2 L + sigma^2  (the eigenvalues of C_c)

    log p_t(x_t | c)   = -1/2 sum_d (y^2 / var + log var + log 2 pi)
    p_t(c | x_t)       = softmax_c(log pi_c + log p_t(x_t | c))
    E[x_0 | x_t, c]    = m_c + U (alpha L / var) y
    E[eps | x_t, c]    = U (sigma / var) y
    v(x_t, t)          = E[eps - x_0 | x_t]
                       = sum_c p_t(c | x_t) (U ((sigma - alpha L) / var) y - m_c)
    grad log p_t(x_t)  = -sum_c p_t(c | x_t) U y / var

finite for all t in [0, 1]: nothing divides by t or 1 - t. An exact expert is the velocity of
the components of its cluster (`restrict`), the exact router is `cluster_posterior`, and their
weighted sum is the velocity of the whole (McAllister et al. 2025, arXiv:2501.05450). `among`
restricts each sample to components of its own. Source: conditioning of jointly Gaussian variables.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from routing.flow.paths import Time, alpha, sigma

Points = Float[Tensor, "batch dim"]
Among = Bool[Tensor, "batch components"]  # whence a sample may come: of weight > 0 in each row


@dataclass(frozen=True, eq=False)
class Mixture:
    """A Gaussian mixture over x_0, known exactly at every time. Lives where its tensors live.

    Raises ValueError if weights are negative or do not sum to 1, a covariance is not symmetric
    positive definite, shapes disagree, or anything is not finite.
    """

    weights: Float[Tensor, " components"]
    means: Float[Tensor, "components dim"]
    covs: Float[Tensor, "components dim dim"]

    def __post_init__(self):
        """Refuse what is not a mixture."""
        num, dim = self.means.shape
        if self.weights.shape != (num,) or self.covs.shape != (num, dim, dim):
            got = ", ".join(str(tuple(a.shape)) for a in (self.weights, self.means, self.covs))
            raise ValueError(
                f"mixture: shapes must be (c,), (c, d), (c, d, d), got {got}: give one row each"
            )
        if not all(a.isfinite().all() for a in (self.weights, self.means, self.covs)):
            raise ValueError("mixture: all numbers must be finite, got nan or inf: check the fit")
        total = self.weights.sum().item()
        if (self.weights < 0).any() or abs(total - 1) > 1e-6:
            raise ValueError(
                "mixture: weights must be >= 0 and sum to 1, "
                f"got min {self.weights.min().item():g} and sum {total:g}: divide by the sum"
            )
        if not torch.allclose(self.covs, self.covs.mT):
            raise ValueError("mixture: covs must be symmetric, got other: use (S + S.mT) / 2")
        eigenvalues = self._spectrum[0]
        rounding = dim * torch.finfo(eigenvalues.dtype).eps * eigenvalues[:, -1]
        if (eigenvalues[:, 0] <= rounding).any():
            raise ValueError(
                "mixture: covs must be positive definite, "
                f"got eigenvalue {eigenvalues.min().item():g}: add a small multiple of identity"
            )

    def log_density(self, x: Points, t: Time) -> Float[Tensor, " batch"]:
        """log p_t(x), in nats."""
        return self._log_joint(x, t)[0].logsumexp(-1)

    def posterior(
        self, x: Points, t: Time, among: Among | None = None
    ) -> Float[Tensor, "batch components"]:
        """p_t(c | x), the responsibility of each component (`among` some); rows sum to 1."""
        return self._log_joint(x, t, among)[0].softmax(-1)

    def cluster_posterior(
        self,
        x: Points,
        t: Time,
        cluster_of_component: Int[Tensor, " components"],
        num_clusters: int,
        among: Among | None = None,
    ) -> Float[Tensor, "batch clusters"]:
        """p_t(k | x), the exact router; a cluster without components has probability 0."""
        p = self.posterior(x, t, among)
        return p @ one_hot(cluster_of_component.long(), num_clusters).to(p.dtype)

    def velocity(self, x: Points, t: Time, among: Among | None = None) -> Points:
        """E[eps - x_0 | x_t = x], what a perfect model trained on all the data says."""
        log_joint, y, var = self._log_joint(x, t, among)
        p = log_joint.softmax(-1)
        a, s = alpha(t)[:, None, None], sigma(t)[:, None, None]
        return self._unrotated(p, (s - a * self._spectrum[0]) / var * y) - p @ self.means

    def score(self, x: Points, t: Time) -> Points:
        """Gradient of log p_t at x; unlike -eps_hat / t it is finite at t = 0."""
        log_joint, y, var = self._log_joint(x, t)
        return -self._unrotated(log_joint.softmax(-1), y / var)

    def sample(self, num: int, generator: torch.Generator) -> tuple[Points, Int[Tensor, " batch"]]:
        """`num` independent draws (x_0, component)."""
        component = torch.multinomial(self.weights, num, replacement=True, generator=generator)
        return self._draw(component, generator), component

    def sample_stratified(
        self, num: int, generator: torch.Generator
    ) -> tuple[Points, Int[Tensor, " batch"]]:
        """`num` draws (x_0, component), c exactly `counts(num)[c]` times, in random order."""
        order = torch.randperm(num, generator=generator, device=self.weights.device)
        component = torch.repeat_interleave(self.counts(num))[order]
        return self._draw(component, generator), component

    def counts(self, num: int) -> Int[Tensor, " components"]:
        """`num` shared out by largest remainder; of equal remainders the lower index wins."""
        share = num * self.weights.double() / self.weights.double().sum()
        counts = share.floor().long()
        by_remainder = (counts - share).argsort(stable=True)
        counts[by_remainder[: num - int(counts.sum())]] += 1
        return counts

    def restrict(self, components: Int[Tensor, " subset"]) -> "Mixture":
        """The mixture of these components alone, weights divided by their sum.

        Raises ValueError if none is given, one is given twice, or all weigh nothing.
        """
        num = len(self.weights)
        distinct = components.unique()  # sorted
        if len(distinct) == 0 or len(distinct) < len(components) or not 0 <= distinct[0]:
            raise ValueError(
                f"restrict: components must be one or more distinct indices in 0..{num - 1}, "
                f"got {components.tolist()}: list each once"
            )
        weights = self.weights[components]
        if not weights.sum() > 0:
            raise ValueError(
                "restrict: components must weigh more than 0 together, "
                f"got {components.tolist()} of weight 0: leave this cluster out"
            )
        return Mixture(weights / weights.sum(), self.means[components], self.covs[components])

    @cached_property
    def _spectrum(
        self,
    ) -> tuple[Float[Tensor, "components dim"], Float[Tensor, "components dim dim"]]:
        """Eigenvalues L (ascending) and eigenvectors U (columns) of the covariances."""
        return tuple(torch.linalg.eigh(self.covs))

    @cached_property
    def _rotated_means(self) -> Float[Tensor, "components dim"]:
        """U^T m_c."""
        return torch.einsum("cde,cd->ce", self._spectrum[1], self.means)

    def _log_joint(
        self, x: Points, t: Time, among: Among | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log pi_c + log p_t(x | c)  [batch components], y and var [batch components dim]."""
        eigenvalues, U = self._spectrum
        a, s = alpha(t)[:, None, None], sigma(t)[:, None, None]
        y = torch.einsum("bd,cde->bce", x, U) - a * self._rotated_means
        var = a**2 * eigenvalues + s**2
        log_p = -0.5 * (y**2 / var + var.log() + math.log(2 * math.pi)).sum(-1)
        log_joint = self.weights.log() + log_p
        return log_joint if among is None else log_joint.where(among, -math.inf), y, var

    def _unrotated(self, p: Tensor, z: Tensor) -> Points:
        """sum_c p_c U_c z_c, from z in the eigenbases."""
        return torch.einsum("bce,cde->bd", p[..., None] * z, self._spectrum[1])

    def _draw(self, component: Int[Tensor, " batch"], generator: torch.Generator) -> Points:
        """x_0 of the given components."""
        # Cholesky, not U sqrt(L): eigenvectors are unique only up to sign, so the draws would
        # depend on the LAPACK at hand. The noise comes first: it does not depend on components.
        shape = (len(component), self.means.shape[1])
        z = torch.randn(
            shape, generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        x0 = torch.empty_like(z)
        for c, factor in enumerate(torch.linalg.cholesky(self.covs)):
            rows = component == c
            x0[rows] = self.means[c] + z[rows] @ factor.mT
        return x0
