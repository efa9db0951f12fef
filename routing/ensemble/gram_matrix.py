"""The Gram matrix of expert errors, from which the error of every weighted ensemble follows.

At a state (x_t, t) made from x_0 and eps let  e_k = v_k(x_t, t) - (eps - x_0)  be the error of
expert k. With weights that sum to 1 the error of the ensemble is the weighted sum of the errors:

    G_ij              = e_i . e_j / dim
    error of w        = ||sum_k w_k v_k - (eps - x_0)||^2 / dim = w^T G w
    disagreement D_ij = ||v_i - v_j||^2 / dim = G_ii + G_jj - 2 G_ij
    tr Cov_p(v) / dim = 1/2 sum_ij p_i p_j D_ij = sum_k p_k G_kk - p^T G p

(the last: ambiguity decomposition, Krogh & Vedelsby 1995). The best weights are the solution of a
quadratic program on the simplex: the point of least norm in the convex hull of the errors (Wolfe
1976, doi:10.1007/BF01580381). All errors are squared and per dimension. For one w on many states
the Gram matrix is the mean over the states; pass it as a batch of one.
"""

import math
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from routing.ensemble.ranking import ranking
from routing.flow.paths import Time

Grams = Float[Tensor, "batch experts experts"]  # symmetric, positive semidefinite to rounding
Weights = Float[Tensor, "batch experts"]  # >= 0, rows sum to 1

MAX_SUBSETS = 256  # enough for subsets of any size of 10 experts, and for pairs of 23
TOLERANCE = 1e-12  # of the optimality conditions, in units of the best expert's error


def gram(
    velocities: Float[Tensor, "experts batch *dims"], target: Float[Tensor, "batch *dims"]
) -> Grams:
    """Return G of every state, in float32; `target` is eps - x_0.

    Sums are in float64. In float32, over the 10^4 to 10^6 dimensions of an image, the relative
    error of G would be up to 1e-5, and no digit of D would be right if the experts share most of
    their error. G is rounded once, at the end, to a relative error of 6e-8.
    """
    errors = (velocities.double() - target.double()).flatten(2)
    return (torch.einsum("ibd,jbd->bij", errors, errors) / errors.shape[2]).float()


def ensemble_error(w: Float[Tensor, "#batch experts"], G: Grams) -> Float[Tensor, " batch"]:
    """Return  w^T G w , the error of the ensemble; `w` has one row for all states or one each."""
    return torch.einsum("bi,bij,bj->b", w.expand(len(G), -1), G, w.expand(len(G), -1))


def expert_errors(G: Grams) -> Float[Tensor, "batch experts"]:
    """Return  G_kk , the error of every expert alone."""
    return G.diagonal(dim1=1, dim2=2)


def best_single(G: Grams) -> Int[Tensor, " batch"]:
    """Return the expert of least error; ties go to the lower index."""
    return ranking(-expert_errors(G))[:, 0]


def disagreement(G: Grams) -> Grams:
    """Return  D_ij = ||v_i - v_j||^2 / dim , up to the rounding of G (1e-7 of its entries)."""
    d = expert_errors(G).double()
    # For two experts that agree the rounding of G remains, which may be negative.
    return (d[:, :, None] + d[:, None, :] - 2 * G.double()).clamp_min(0).to(G.dtype)


def weighted_disagreement(p: Float[Tensor, "#batch experts"], D: Grams) -> Float[Tensor, " batch"]:
    """Return  tr Cov_p(v) / dim , the variance of the velocities under `p`, from D."""
    return ensemble_error(p, D) / 2


def mean_by_time(
    values: Float[Tensor, "batch *axes"], t: Time, edges: Float[Tensor, " edges"]
) -> Float[Tensor, "bins *axes"]:
    """Return means of `values` over the states with  edges[b] <= t < edges[b + 1] .

    The last bin includes its upper edge. A bin without states is nan. Raises ValueError if a time
    is in no bin.
    """
    return _means(values, _bins(t, edges), len(edges) - 1)


def error_matrix(
    G: Grams, cluster: Int[Tensor, " batch"], t: Time, edges: Float[Tensor, " edges"]
) -> Float[Tensor, "clusters experts bins"]:
    """Return the mean error of each expert on the states of each cluster, by time.

    Expert k was trained on cluster k, so there are as many clusters as experts. Bins are as in
    `mean_by_time`; a mean over no states is nan.
    """
    num, bins = G.shape[1], len(edges) - 1
    cell = cluster * bins + _bins(t, edges)
    return _means(expert_errors(G), cell, num * bins).unflatten(0, (num, bins)).transpose(1, 2)


@torch.no_grad()
def best_weights(G: Grams) -> Weights:
    """Return a minimiser of w^T G w on the simplex, without gradient.

    If there are several minimisers, any of them is returned. The minimiser over u >= 0 of
    u^T G u + c (1 - sum u)^2  is a multiple of w for any c > 0. This is non-negative least
    squares, solved for all states at once by the active-set method of Lawson & Hanson (1974,
    ch. 23), which reaches an exact solution after finitely many steps. The error of w is the
    least one up to rounding, K eps / 2 sum_k w_k^2 G_kk , with the eps of G's dtype (if
    K eps / 2 is below 1e-12, that is used instead).
    """
    num = G.shape[1]
    # In y_k = u_k sqrt(G_kk), with c = min G_kk, all numbers are in [0, 1], however different
    # the experts are: the matrix has the cosines of their errors, and q replaces the ones of
    # sum u.
    root = expert_errors(G).double().sqrt()
    root = torch.where(root > 0, root, 1e-12 * root.amax(1, keepdim=True))
    root = torch.where(root > 0, root, 1.0)  # all are perfect
    q = root.amin(1, keepdim=True) / root
    cosines = G.double() / root[:, :, None] / root[:, None, :]
    # Rounding changes the cosines by a matrix of norm K eps / 2 at most. Adding as much to the
    # diagonal keeps them positive definite, also if experts are equal or more than dimensions. In
    # float64 that is too little to prevent the method from cycling.
    ridge = max(num * torch.finfo(G.dtype).eps / 2, 1e-12)
    H = cosines + ridge * torch.eye(num, dtype=q.dtype, device=q.device)
    u = q * _nonnegative_solution(H + q[:, :, None] * q[:, None, :], q)
    return (u / u.sum(1, keepdim=True)).to(G.dtype)


def best_subset(G: Grams, k: int) -> Weights:
    """Return a minimiser of w^T G w on the simplex among weights on at most `k` experts.

    All subsets of `k` experts are evaluated. Raises ValueError if `k` is not in 1..K, or if there
    are more than MAX_SUBSETS subsets.
    """
    num = G.shape[1]
    if not 1 <= k <= num:
        raise ValueError(f"best_subset: k must be in 1..{num} (experts), got k={k}: change k")
    if math.comb(num, k) > MAX_SUBSETS:
        raise ValueError(
            f"best_subset: at most {MAX_SUBSETS} subsets can be evaluated, got "
            f"{math.comb(num, k)} ({k} of {num} experts): choose another k, or best_weights"
        )
    best = best_weights(G)
    rows = ((best > 0).sum(1) > k).nonzero()[:, 0]  # the other rows are done
    left = G[rows]
    least = left.new_full((len(rows),), math.inf)
    for subset in combinations(range(num), k):
        w = torch.zeros_like(best[rows])
        w[:, subset] = best_weights(left[:, subset][:, :, subset])
        error = ensemble_error(w, left)
        best[rows] = torch.where((error < least)[:, None], w, best[rows])
        least = torch.minimum(error, least)
    return best


def _nonnegative_solution(H: Tensor, q: Tensor) -> Tensor:
    """Return argmin  y^T H y / 2 - q . y  over y >= 0, for positive definite H [batch K K]."""
    solution = torch.zeros_like(q)
    rows, y = torch.arange(len(H), device=H.device), solution.clone()
    free = torch.zeros_like(y, dtype=torch.bool)  # the others are fixed at 0
    is_settled = free.new_ones(len(H))  # y is the minimiser on its free variables
    for _ in range(100 * H.shape[1]):  # a few times K are needed
        slope = q - (H @ y[:, :, None])[:, :, 0]
        gain, entering = torch.where(free | (slope <= TOLERANCE * q), 0.0, slope).max(dim=1)
        is_open = ~is_settled | (gain > 0)
        solution[rows] = y
        state = (rows, H, q, y, free, is_settled, entering)
        rows, H, q, y, free, is_settled, entering = (a[is_open] for a in state)
        free |= one_hot(entering, y.shape[1]).bool() & is_settled[:, None]
        s = _solution_on(free, H, q)
        # Move from y towards s until a free variable would become negative, and fix that one.
        room = torch.where(free & (s <= 0), y / (y - s), math.inf)
        step, leaving = room.min(dim=1)
        is_settled = step == math.inf
        y = torch.where(is_settled[:, None], s, y + step[:, None] * (s - y))
        is_held = one_hot(leaving, y.shape[1]).bool() & ~is_settled[:, None]
        y, free = y.masked_fill(is_held, 0.0), free & ~is_held
        # If a variable leaves as it enters, its slope was rounding error: the row is done.
        state, is_moving = (rows, H, q, y, free, is_settled), step > 0
        rows, H, q, y, free, is_settled = (a[is_moving] for a in state)
        if not len(rows):
            return solution
    raise AssertionError(f"{len(rows)} quadratic programs did not converge")


def _solution_on(free: Tensor, H: Tensor, q: Tensor) -> Tensor:
    """Return s with  (H s)_k = q_k  where `free` and s_k = 0 elsewhere."""
    both = free[:, :, None] & free[:, None, :]
    identity = torch.eye(H.shape[1], dtype=H.dtype, device=H.device)
    return torch.linalg.solve(torch.where(both, H, identity), torch.where(free, q, 0.0))


def _bins(t: Tensor, edges: Tensor) -> Tensor:
    """Return the bin of each time. Raises ValueError if a time is in no bin."""
    if not ((edges[0] <= t) & (t <= edges[-1])).all():
        raise ValueError(
            f"times must be in {edges[0].item():g}..{edges[-1].item():g} (edges), got "
            f"{t.min().item():g}..{t.max().item():g}: widen the edges"
        )
    return (torch.searchsorted(edges, t.contiguous(), right=True) - 1).clamp(max=len(edges) - 2)


def _means(values: Tensor, cell: Tensor, num: int) -> Tensor:
    """Return the mean of the rows of each cell; nan (0 / 0) for an empty cell."""
    total = values.new_zeros((num, *values.shape[1:]), dtype=torch.float64)
    total.index_add_(0, cell, values.double())
    count = torch.bincount(cell, minlength=num).reshape(-1, *[1] * (values.ndim - 1))
    return (total / count).to(values.dtype)
