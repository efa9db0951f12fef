"""The divergence of a velocity,  div v = tr J , J = d v / d x , from vector-Jacobian products.

    div v = sum_d e_d^T J e_d      exactly, by one product  e_d^T J  per dimension
    div v ~ u^T J u                unbiased where  E[u u^T] = I , by one product

The second is Hutchinson's estimate (1989), u a vector of random signs or standard normals; as in
FFJORD (Grathwohl et al. 2019, arXiv:1810.01367) one u per sample, kept along its trajectory,
makes of a sum over time the estimate of the sum, with errors that do not look like noise to the
solver. A product is a backward pass and costs about as much as two evaluations of v.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

X = Float[Tensor, "batch *dims"]
EXACT_DIMS = 4  # up to so many dimensions of a sample the divergence is exact
EVALUATIONS_PER_PRODUCT = 2


def num_products(x: X) -> int:
    """Vector-Jacobian products that `with_divergence` takes for samples of this shape."""
    num_dims = math.prod(x.shape[1:])
    return num_dims if num_dims <= EXACT_DIMS else 1


def with_divergence(
    v: Callable[[Tensor], Tensor], x: X, directions: X | None = None
) -> tuple[X, Float[Tensor, " batch"]]:
    """v(x) and its divergence, also under torch.no_grad; no gradient flows out of either.

    Row i of v(x) may depend on row i of x only. `directions` are the u of each sample, for
    samples of more than EXACT_DIMS dimensions; raises ValueError if they are missing there.
    """
    num_dims = math.prod(x.shape[1:])
    is_exact = num_products(x) == num_dims
    if not is_exact and directions is None:
        raise ValueError(
            "a divergence needs one random direction per sample where samples have more than "
            f"{EXACT_DIMS} dimensions, got none for {tuple(x.shape[1:])}: give directions"
        )
    ways = torch.eye(num_dims).reshape(-1, 1, *x.shape[1:]) if is_exact else [directions]
    div = x.new_zeros(len(x))
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        says = v(x)
        for u in ways:
            u = u.to(x).expand_as(x)
            product = torch.autograd.grad(says, x, u, retain_graph=True)[0]
            div += (product * u).flatten(1).sum(dim=1)
    return says.detach(), div
