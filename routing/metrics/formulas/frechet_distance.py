"""Frechet distance: the squared 2-Wasserstein distance of Gaussians fitted to two sets.

With m and S the mean and the unbiased covariance (ddof 1) of the samples x, m_ref and S_ref those
of the reference,

    F = |m - m_ref|^2 + tr S + tr S_ref - 2 T ,    T = tr (S S_ref)^(1/2) .

With a root  S_ref = R R^T,  computed once per reference, T is the sum of the square roots of the
eigenvalues of  A = R^T S R .  A is symmetric and positive, and T is correct for singular S and
S_ref too, unlike with a root of the non-symmetric S S_ref. If there are no more samples than
columns of R, the smaller matrix  P P^T / (n - 1),  P = (x - m) R,  has the same eigenvalues.

A replicate counts sample i w_i times:  n = sum w ,  m = sum w x / n ,
S = sum w (x - m)(x - m)^T / (n - 1).

For hundreds of replicates, F is expanded to first order in w, which needs one decomposition. With
c_i = x_i - m  and the pseudo-inverse root of A, the influence of sample i is

    phi_i = 2 (m - m_ref) . c_i + n / (n - 1) (|c_i|^2 - c_i R A^(-1/2) R^T c_i) - (tr S - T) ,
    F(w) ~ F + sum_i (w_i - 1) phi_i / n ,    sum w = n ,    sum phi = 0 .

F in Inception features is the FID (Heusel et al. 2017, arXiv:1706.08500); in other features it has
another name. Its expectation exceeds its limit by about c / n, where c depends on the samples:
compare at equal n only. T has a relative error of about 1e-8: F of equal sets may be -1e-8.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from routing.metrics.formulas.input_checks import (
    reference_features,
    sample_counts,
    weighted_samples,
)

BLOCK = 8192  # rows that are converted to float64 at a time
PANEL = 512  # columns of a symmetric or triangular product at a time; the other half is skipped


@dataclass(frozen=True)
class FrechetReference:
    """The Gaussian of the reference: its mean, and a root R of its covariance R R^T. Float64.

    R is lower triangular, with no more columns than the reference had rows.
    """

    mean: Float[Tensor, " dim"]
    root: Float[Tensor, "dim rank"]

    @classmethod
    def fit(cls, reference: Float[Tensor, "reference dim"]) -> "FrechetReference":
        """Fit the moments of a set. Raise ValueError unless it has two rows, all finite."""
        return cls.of_blocks(reference.split(BLOCK))

    @classmethod
    def of_blocks(cls, blocks: Iterable[Float[Tensor, "_ dim"]]) -> "FrechetReference":
        """Fit the moments of a set that is given in blocks of rows, one in memory at a time.

        The block size changes rounding only. Raises as `fit`.
        """
        count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
        few: list[Tensor] = []  # all rows, as long as there are no more than columns
        for block in blocks:
            y = reference_features(block, at_least=1)
            part, total = y.mean(dim=0), count + len(y)
            scatter = scatter + _gram(y - part, y.new_ones(len(y)))
            scatter.addr_(part - mean, part - mean, alpha=count * len(y) / total)
            mean = (count * mean + len(y) * part) / total
            count = total
            few = [*few, y] if count <= y.shape[1] else []
        if count < 2:
            raise ValueError(f"reference: wanted at least 2 rows, got {count}; give more samples")
        if few:  # the root with fewer columns
            root = torch.linalg.qr(torch.cat(few) - mean, mode="r").R.T
            return cls(mean, root / math.sqrt(count - 1))
        covariance = scatter / (count - 1)
        root, is_singular = torch.linalg.cholesky_ex(covariance)
        return cls.from_moments(mean, covariance) if is_singular else cls(mean, root)

    @classmethod
    def from_moments(
        cls, mean: Float[Tensor, " dim"], covariance: Float[Tensor, "dim dim"]
    ) -> "FrechetReference":
        """Use published moments. Raise ValueError if the covariance has a negative eigenvalue."""
        values, vectors = torch.linalg.eigh(covariance.double())
        if values[0] < -1e-6 * values[-1]:  # more than the rounding of float32 storage
            raise ValueError(
                f"covariance: wanted eigenvalues >= 0, got {values[0].item():g}; "
                "pass the covariance itself, not its root or inverse"
            )
        root = vectors * values.clamp_min(0).sqrt()
        return cls(mean.double(), torch.linalg.qr(root.T, mode="r").R.T)


def frechet_distance(
    samples: Float[Tensor, "samples dim"],
    reference: FrechetReference,
    weights: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """Return F of every replicate, in squared units of the features, float64.

    Raises as weighted_samples.
    """
    x, w = weighted_samples(samples, weights, dim=len(reference.mean), at_least=2)
    centre = x.mean(dim=0)
    x = x - centre
    n = w.sum(dim=1)
    shift = (w @ x) / n[:, None]
    trace = (w @ _squares(x) - n * shift.square().sum(dim=1)) / (n - 1)
    distance = (centre + shift - reference.mean).square().sum(dim=1)
    trace_root = torch.stack([*_trace_roots(x, reference.root, w)])
    return distance + trace + reference.root.square().sum() - 2 * trace_root


def frechet_influence(
    samples: Float[Tensor, "samples dim"], reference: FrechetReference
) -> Float[Tensor, " samples"]:
    """Return phi_i of every sample: n times the derivative of F by its weight, float64.

    The mean of phi is 0. Where n is well above `dim`, std(phi) / n^(1/2) is the standard error of
    F over new samples. With fewer samples F is mostly bias and strongly curved in w; phi is still
    the exact derivative, but not a measure of the variation of F. Raises as weighted_samples.
    """
    return _expansion(samples, reference)[1]


def frechet_bootstrap(
    samples: Float[Tensor, "samples dim"],
    reference: FrechetReference,
    counts: Float[Tensor, "replicates samples"],
) -> Float[Tensor, " replicates"]:
    """Return F + sum_i (w_i - 1) phi_i / n for every row w of counts, float64.

    Exact bootstrap replicates scatter around F plus its bias once more, since the bias is of
    second order in w; these scatter around F. For a paired difference of two arms, use the same
    counts and subtract. Not reliable below n = dim, as phi. Raises as weighted_samples, and on
    rows that do not sum to the number of samples (use `frechet_distance` for those).
    """
    w = sample_counts(counts, at_least=1)
    n = len(samples)
    if w.shape[1] != n or (w.sum(dim=1) != n).any():
        raise ValueError(
            f"counts: wanted rows of {n} counts that sum to {n} (samples), got a row of "
            f"{w.shape[1]} that sums to {w.sum(dim=1)[(w.sum(dim=1) - n).abs().argmax()]:g}; "
            "draw as many samples as there are"
        )
    value, phi = _expansion(samples, reference)
    return value + (w - 1) @ phi / n


def covariance_rank(num_samples: int, dim: int) -> int:
    """Return the largest rank that the covariance of `num_samples` points can have."""
    return min(num_samples - 1, dim)


def sample_size_note(num_samples: int, reference: FrechetReference) -> str:
    """Return a caveat about the bias of F with so many samples; "" if there are enough."""
    dim, enough = len(reference.mean), max(10 * len(reference.mean), 10_000)
    rank = covariance_rank(num_samples, dim)
    few = ""
    if rank < dim:
        few = (
            f"{num_samples} samples in {dim} dimensions give a covariance of rank {rank}: the "
            "distance is mostly bias; compare at equal sample size only, or take the kernel "
            "distance, which has no bias"
        )
    elif num_samples < enough:
        few = (
            f"{num_samples} samples in {dim} dimensions leave a bias that falls as 1 / n; "
            f"compare at equal sample size only, or take {enough} samples"
        )
    return "; ".join(filter(None, (few, reference_size_note(reference))))


def reference_size_note(reference: FrechetReference) -> str:
    """Return a caveat about a reference with a singular covariance; "" if it is regular."""
    dim, rows = reference.root.shape
    if rows == dim:
        return ""
    return (
        f"the covariance of {rows} reference images in {dim} dimensions is singular, which adds a "
        "bias that more samples do not remove; compare only against the same images, or use more"
    )


def _expansion(samples: Tensor, reference: FrechetReference) -> tuple[Tensor, Tensor]:
    """Return F at equal weights, and phi."""
    everyone = torch.ones(1, len(samples), device=samples.device)
    x, w = weighted_samples(samples, everyone, dim=len(reference.mean), at_least=2)
    n, root = len(x), reference.root
    gap = x.mean(dim=0) - reference.mean
    x = x - x.mean(dim=0)
    p = _onto(x, root)
    if n <= root.shape[1]:
        values, vectors = torch.linalg.eigh(_gram(p.T, p.new_ones(p.shape[1])))
        roots = (values.clamp_min(0) / (n - 1)).sqrt()
        # P = U s V^T turns  p_i A^(-1/2) p_i  into  (n - 1)^(1/2) sum_k U_ik^2 s_k .
        leverage = (n - 1) * vectors.square() @ roots
    else:
        values, vectors = torch.linalg.eigh(_gram(p, w[0]) / (n - 1))
        roots = values.clamp_min(0).sqrt()
        support = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
        axes = vectors[:, support]
        leverage = torch.cat([(b @ axes).square() @ (1 / roots[support]) for b in p.split(BLOCK)])
    squares, trace_root = _squares(x), roots.sum()
    trace = squares.sum() / (n - 1)
    value = gap.square().sum() + trace + root.square().sum() - 2 * trace_root
    phi = 2 * (x @ gap) + n / (n - 1) * (squares - leverage)
    return value, phi - phi.mean()  # the mean is  tr S - T  but for rounding


def _trace_roots(x: Tensor, root: Tensor, w: Tensor) -> Iterator[Tensor]:
    """Iterate over T of every replicate, each from the smaller of the two matrices."""
    few = (w > 0).sum(dim=1) <= root.shape[1]
    p = _onto(x, root) if few.any() else None
    known: list[
        tuple[Tensor, Tensor]
    ] = []  # weights and their matrix: of the first row, of the last
    for row, is_few in zip(w, few, strict=True):
        if is_few:
            yield _from_rows(p, row)
            continue
        inner = _near_inner(x, root, row, known)
        known = [*known[:1], (row, inner)]
        yield _from_columns(row @ x @ root, row.sum(), inner)


def _near_inner(x: Tensor, root: Tensor, w: Tensor, known: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return P^T diag(w) P by an update of the nearest known one, for rows of other weight only.

    So a whole jackknife costs as much as one more matrix, and so does a series of nested subsets.
    """
    if not known:
        return _inner(x, root, w)
    differ, inner = min(((w - v, g) for v, g in known), key=lambda each: int((each[0] != 0).sum()))
    changed = differ != 0
    return inner + _inner(x[changed], root, differ[changed]) if changed.any() else inner


def _inner(x: Tensor, root: Tensor, w: Tensor) -> Tensor:
    """Return the lower triangle of P^T diag(w) P, from P or  x^T diag(w) x , the smaller one."""
    dim, rank = root.shape
    if rank < dim or len(x) < dim:
        return _gram(_onto(x, root), w)
    right = _onto(_gram(x, w), root)
    inner = torch.zeros_like(right)
    for a in range(0, dim, PANEL):  # R is lower triangular
        b = a + PANEL
        torch.mm(root[a:, a:b].T, right[a:, :b], out=inner[a:b, :b])
    return inner


def _from_rows(p: Tensor, w: Tensor) -> Tensor:
    """Return T from the eigenvalues of P P^T, without the direction that centring removes."""
    n, kept = w.sum(), w > 0
    unit = (w[kept] / n).sqrt()
    rows = w[kept].sqrt()[:, None] * (p[kept] - w @ p / n)  # unit @ rows = 0
    # A reflection maps `unit` to the first axis; the first row is then 0 and is dropped.
    rows = rows[1:] - torch.outer(unit[1:], rows[0]) / (1 + unit[0])
    gram = _gram(rows.T, rows.new_ones(rows.shape[1]))
    return (torch.linalg.eigvalsh(gram).clamp_min(0) / (n - 1)).sqrt().sum()


def _from_columns(total: Tensor, n: Tensor, inner: Tensor) -> Tensor:
    """Return T from the eigenvalues of A, with  total = w P  and  inner = P^T diag(w) P ."""
    scatter = torch.addr(inner, total, total / n, alpha=-1)
    values = torch.linalg.eigvalsh(scatter, UPLO="L").clamp_min(0)  # < 0: rounding only
    return (values / (n - 1)).sqrt().sum()


def _onto(x: Tensor, root: Tensor) -> Tensor:
    """Return P = x R ; R is lower triangular, and its upper triangle is not multiplied."""
    p = x.new_empty(len(x), root.shape[1])
    for a in range(0, root.shape[1], PANEL):
        torch.mm(x[:, a:], root[a:, a : a + PANEL], out=p[:, a : a + PANEL])
    return p


def _gram(x: Tensor, w: Tensor) -> Tensor:
    """Return x^T diag(w) x : the lower triangle is computed, the upper one copied."""
    gram = x.new_empty(x.shape[1], x.shape[1])
    for a in range(0, x.shape[1], PANEL):
        b = a + PANEL
        torch.mm(x[:, a:].T, w[:, None] * x[:, a:b], out=gram[a:, a:b])
        gram[a:b, b:] = gram[b:, a:b].T
    return gram


def _squares(x: Tensor) -> Tensor:
    """Return |x_i|^2 of every row, without a copy of x."""
    return torch.linalg.vector_norm(x, dim=1).square()
