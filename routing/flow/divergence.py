"""The divergence of a velocity,  div v = tr J , J = d v / d x , from vector-Jacobian products.

    div v = sum_d e_d^T J e_d      exactly, by one product  e_d^T J  per dimension
    div v ~ u^T J u                unbiased where  E[u u^T] = I , by one product

The second is Hutchinson's estimator (1989); u is a vector of random signs or standard normals. As
in FFJORD (Grathwohl et al. 2019, arXiv:1810.01367), each sample keeps one u along its trajectory.
The estimate of a sum over time is then the sum of the estimates, and the ODE solver sees an error
that is smooth in time. A product is a backward pass; it costs about two evaluations of v.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

X = Float[Tensor, "batch *dims"]
EXACT_DIMS = 4  # the divergence is exact for samples of at most this many dimensions
EVALUATIONS_PER_PRODUCT = 2


def num_products(x: X) -> int:
    """Return the number of vector-Jacobian products that `with_divergence` computes for `x`."""
    num_dims = math.prod(x.shape[1:])
    return num_dims if num_dims <= EXACT_DIMS else 1


def with_divergence(
    v: Callable[[Tensor], Tensor], x: X, directions: X | None = None
) -> tuple[X, Float[Tensor, " batch"]]:
    """Return v(x) and its divergence, both detached; this also works under torch.no_grad.

    Row i of v(x) may depend on row i of x only. `directions` holds the vector u of each sample.
    Raises ValueError if it is missing for samples of more than EXACT_DIMS dimensions.
    """
    num_dims = math.prod(x.shape[1:])
    is_exact = num_products(x) == num_dims
    if not is_exact and directions is None:
        raise ValueError(
            "a divergence needs one random direction per sample where samples have more than "
            f"{EXACT_DIMS} dimensions, got none for {tuple(x.shape[1:])}: give directions"
        )
    vectors = torch.eye(num_dims).reshape(-1, 1, *x.shape[1:]) if is_exact else [directions]
    div = x.new_zeros(len(x))
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        velocity = v(x)
        for u in vectors:
            u = u.to(x).expand_as(x)
            product = torch.autograd.grad(velocity, x, u, retain_graph=True)[0]
            div += (product * u).flatten(1).sum(dim=1)
    return velocity.detach(), div
