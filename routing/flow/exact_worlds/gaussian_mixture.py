"""A Gaussian mixture, for which every router and expert has a closed form.

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

All are finite for t in [0, 1]: nothing divides by t or 1 - t. The exact expert of a cluster is the
velocity of its components (`restrict`), and the exact router is `cluster_posterior`. Their
weighted sum is the velocity of the mixture (McAllister et al. 2025, arXiv:2501.05450).
`component_mask` restricts each sample to its own set of components. Source: conditioning of
jointly Gaussian variables.
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
# Components allowed for each sample; each row allows a component of weight > 0.
ComponentMask = Bool[Tensor, "batch components"]


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """A Gaussian mixture over x_0 and its noised marginals, on the device of its tensors.

    Raises ValueError if weights are negative or do not sum to 1, a covariance is not symmetric
    positive definite, shapes disagree, or anything is not finite.
    """

    weights: Float[Tensor, " components"]
    means: Float[Tensor, "components dim"]
    covs: Float[Tensor, "components dim dim"]

    def __post_init__(self):
        """Validate shapes, weights and covariances."""
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
            raise ValueError("mixture: covs must be symmetric, got others: use (S + S.mT) / 2")
        eigenvalues = self._spectrum[0]
        rounding = dim * torch.finfo(eigenvalues.dtype).eps * eigenvalues[:, -1]
        if (eigenvalues[:, 0] <= rounding).any():
            raise ValueError(
                "mixture: covs must be positive definite, "
                f"got eigenvalue {eigenvalues.min().item():g}: add a small multiple of identity"
            )

    def log_density(self, x: Points, t: Time) -> Float[Tensor, " batch"]:
        """Return log p_t(x) in nats."""
        return self._log_joint(x, t)[0].logsumexp(-1)

    def posterior(
        self, x: Points, t: Time, component_mask: ComponentMask | None = None
    ) -> Float[Tensor, "batch components"]:
        """Return p_t(c | x), the responsibility of each component; rows sum to 1."""
        return self._log_joint(x, t, component_mask)[0].softmax(-1)

    def cluster_posterior(
        self,
        x: Points,
        t: Time,
        cluster_of_component: Int[Tensor, " components"],
        num_clusters: int,
        component_mask: ComponentMask | None = None,
    ) -> Float[Tensor, "batch clusters"]:
        """Return p_t(k | x), the exact router; a cluster without components has probability 0."""
        p = self.posterior(x, t, component_mask)
        return p @ one_hot(cluster_of_component.long(), num_clusters).to(p.dtype)

    def velocity(self, x: Points, t: Time, component_mask: ComponentMask | None = None) -> Points:
        """Return E[eps - x_0 | x_t = x], the velocity of a perfect model of all the data."""
        log_joint, y, var = self._log_joint(x, t, component_mask)
        p = log_joint.softmax(-1)
        a, s = alpha(t)[:, None, None], sigma(t)[:, None, None]
        return self._unrotated(p, (s - a * self._spectrum[0]) / var * y) - p @ self.means

    def score(self, x: Points, t: Time) -> Points:
        """Return the gradient of log p_t at x; unlike -eps_hat / t it is finite at t = 0."""
        log_joint, y, var = self._log_joint(x, t)
        return -self._unrotated(log_joint.softmax(-1), y / var)

    def sample(self, num: int, generator: torch.Generator) -> tuple[Points, Int[Tensor, " batch"]]:
        """Return `num` independent draws (x_0, component)."""
        component = torch.multinomial(self.weights, num, replacement=True, generator=generator)
        return self._draw(component, generator), component

    def sample_stratified(
        self, num: int, generator: torch.Generator
    ) -> tuple[Points, Int[Tensor, " batch"]]:
        """Return `num` draws (x_0, component) in random order, `counts(num)[c]` of component c."""
        order = torch.randperm(num, generator=generator, device=self.weights.device)
        component = torch.repeat_interleave(self.counts(num))[order]
        return self._draw(component, generator), component

    def counts(self, num: int) -> Int[Tensor, " components"]:
        """Return counts that sum to `num`, by largest remainder; ties go to the lower index."""
        share = num * self.weights.double() / self.weights.double().sum()
        counts = share.floor().long()
        by_remainder = (counts - share).argsort(stable=True)
        counts[by_remainder[: num - int(counts.sum())]] += 1
        return counts

    def restrict(self, components: Int[Tensor, " subset"]) -> "GaussianMixture":
        """Return the mixture of these components, with weights divided by their sum.

        Raises ValueError if `components` is empty, repeats an index, or has total weight 0.
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
                "restrict: components must have a total weight above 0, "
                f"got {components.tolist()} of weight 0: leave this cluster out"
            )
        return GaussianMixture(
            weights / weights.sum(), self.means[components], self.covs[components]
        )

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
        self, x: Points, t: Time, component_mask: ComponentMask | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return log pi_c + log p_t(x | c) [batch components]; y, var [batch components dim]."""
        eigenvalues, U = self._spectrum
        a, s = alpha(t)[:, None, None], sigma(t)[:, None, None]
        y = torch.einsum("bd,cde->bce", x, U) - a * self._rotated_means
        var = a**2 * eigenvalues + s**2
        log_p = -0.5 * (y**2 / var + var.log() + math.log(2 * math.pi)).sum(-1)
        log_joint = self.weights.log() + log_p
        if component_mask is not None:
            log_joint = log_joint.where(component_mask, -math.inf)
        return log_joint, y, var

    def _unrotated(self, p: Tensor, z: Tensor) -> Points:
        """Return sum_c p_c U_c z_c for z in the eigenbases."""
        return torch.einsum("bce,cde->bd", p[..., None] * z, self._spectrum[1])

    def _draw(self, component: Int[Tensor, " batch"], generator: torch.Generator) -> Points:
        """Draw x_0 from the given components."""
        # Cholesky, not U sqrt(L): eigenvectors are unique only up to sign, so the draws would
        # depend on the LAPACK version. The noise is drawn first, so that it does not depend on
        # the components.
        shape = (len(component), self.means.shape[1])
        z = torch.randn(
            shape, generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        x0 = torch.empty_like(z)
        for c, factor in enumerate(torch.linalg.cholesky(self.covs)):
            rows = component == c
            x0[rows] = self.means[c] + z[rows] @ factor.mT
        return x0
