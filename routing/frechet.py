"""Frechet distance: the 2-Wasserstein distance, squared, of two sets seen as Gaussians.

With m, S the mean and the unbiased covariance (ddof 1) of the samples x, m_ref and S_ref those
of the reference,

    F = |m - m_ref|^2 + tr S + tr S_ref - 2 T ,    T = tr (S S_ref)^(1/2) .

With a root  S_ref = R R^T,  found once per reference, T is the sum of the square roots of the
eigenvalues of  R^T S R,  the covariance of  p = x R :  symmetric, positive, and right for
singular S and S_ref alike, where roots of the non-symmetric S S_ref are not. Fewer samples
than columns of R: T is the sum of the singular values of the centred p, over (n - 1)^(1/2).

A replicate counts sample i w_i times:  n = sum w ,  m = sum w x / n ,
S = sum w (x - m)(x - m)^T / (n - 1).

F in Inception features is the FID (Heusel et al. 2017, arXiv:1706.08500); in other features it
is not called so. Its expectation exceeds its limit by about c / n, c depending on the samples:
compare at equal n only. T is known to about 1e-8 of its scale: F of equal sets may be -1e-8.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from routing.checks import reference_features, weighted_samples


@dataclass(frozen=True)
class FrechetReference:
    """A Gaussian to compare with: its mean, and a root R of its covariance R R^T. Float64."""

    mean: Float[Tensor, " dim"]
    root: Float[Tensor, "dim rank"]

    @classmethod
    def fit(cls, reference: Float[Tensor, "reference dim"]) -> "FrechetReference":
        """The moments of a set. ValueError on fewer than two rows, or rows not finite."""
        y = reference_features(reference, at_least=2)
        mean = y.mean(dim=0)
        # y - mean = Q U gives S_ref = U^T U / (m - 1) and never squares the condition number.
        upper = torch.linalg.qr(y - mean, mode="r").R
        return cls(mean, upper.T / math.sqrt(len(y) - 1))

    @classmethod
    def from_moments(
        cls, mean: Float[Tensor, " dim"], covariance: Float[Tensor, "dim dim"]
    ) -> "FrechetReference":
        """From published moments. ValueError if the covariance has a negative direction."""
        values, vectors = torch.linalg.eigh(covariance.double())
        if values[0] < -1e-6 * values[-1]:  # further below zero than float32 storage explains
            raise ValueError(
                f"covariance: wanted eigenvalues >= 0, got {values[0].item():g}; "
                "pass the covariance itself, not its root or inverse"
            )
        return cls(mean.double(), vectors * values.clamp_min(0).sqrt())


def frechet_distance(
    samples: Float[Tensor, "samples dim"],
    reference: FrechetReference,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """F of every replicate, in squared units of the features; float64. ValueErrors: checks.py."""
    x, w = weighted_samples(samples, weights, dim=len(reference.mean), at_least=2)
    centre = x.mean(dim=0)
    x = x - centre
    n = w.sum(dim=1)
    shift = (w @ x) / n[:, None]
    trace = (w @ x.square().sum(dim=1) - n * shift.square().sum(dim=1)) / (n - 1)
    distance = (centre + shift - reference.mean).square().sum(dim=1)
    root = _trace_root(x @ reference.root, w)
    return distance + trace + reference.root.square().sum() - 2 * root


def _trace_root(
    p: Float[Tensor, "samples rank"], w: Float[Tensor, "replicates samples"]
) -> Float[Tensor, " replicates"]:
    """T of every replicate, from  p = x R ; all replicates by the same of the two ways."""
    fewest = (w > 0).sum(dim=1).min()
    if fewest < p.shape[1]:
        return torch.stack([_from_rows(p, row) for row in w])
    base = p.T @ (w[0, :, None] * p)
    return torch.stack([_from_gram(p, row, w[0], base) for row in w])


def _from_rows(p: Float[Tensor, "samples rank"], w: Float[Tensor, " samples"]) -> Tensor:
    n = w.sum()
    kept = w > 0
    rows = w[kept].sqrt()[:, None] * (p[kept] - w @ p / n)
    return torch.linalg.svdvals(rows).sum() / (n - 1).sqrt()


def _from_gram(
    p: Float[Tensor, "samples rank"],
    w: Float[Tensor, " samples"],
    w_base: Float[Tensor, " samples"],
    base: Float[Tensor, "rank rank"],
) -> Tensor:
    """T from the eigenvalues of R^T S R, with  base = p^T diag(w_base) p ."""
    n = w.sum()
    # Only rows of another weight are multiplied anew: all of a jackknife costs one more Gram.
    changed = w != w_base
    part = p[changed]
    gram = base + part.T @ ((w - w_base)[changed, None] * part)
    mean = w @ p / n
    covariance = (gram - n * torch.outer(mean, mean)) / (n - 1)
    return torch.linalg.eigvalsh(covariance).clamp_min(0).sqrt().sum()  # < 0: rounding only
