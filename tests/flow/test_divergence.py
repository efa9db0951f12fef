import itertools

import pytest
import torch
from exact_mixtures import labelled, states
from torch.autograd.functional import jacobian

from routing.flow.divergence import num_products, with_divergence


def linear(matrices):
    """v = A_i x_i, a matrix for each row."""
    return lambda x: torch.einsum("bde,be->bd", matrices, x.flatten(1)).view_as(x)


def trace(matrices):
    return matrices.diagonal(dim1=1, dim2=2).sum(dim=1)


@pytest.mark.parametrize("shape", [(1,), (3,), (4,), (2, 2), (1, 3, 1)])
def test_it_is_the_trace_in_few_dimensions(shape, rng):
    num_dims = torch.Size(shape).numel()
    A = torch.randn(5, num_dims, num_dims, generator=rng, dtype=torch.float64)
    x = torch.randn(5, *shape, generator=rng, dtype=torch.float64)
    v, div = with_divergence(linear(A), x)
    assert num_products(x) == num_dims
    assert torch.equal(v, linear(A)(x))
    torch.testing.assert_close(div, trace(A))


def test_it_is_the_trace_of_the_jacobian_of_a_mixture(rng):
    mixture = labelled(dim=3).mixture
    x, t = states(mixture, 8, 0.4, rng)
    v, div = with_divergence(lambda x: mixture.velocity(x, t), x)
    J = jacobian(lambda x: mixture.velocity(x, t).sum(0), x).permute(1, 0, 2)
    torch.testing.assert_close(v, mixture.velocity(x, t))
    torch.testing.assert_close(div, trace(J))


def test_the_mean_of_the_estimate_over_all_signs_is_the_trace(rng):
    num_dims = 6
    A = torch.randn(1, num_dims, num_dims, generator=rng, dtype=torch.float64)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=num_dims)))
    x = torch.randn(1, 2, 3, generator=rng, dtype=torch.float64).repeat(len(signs), 1, 1)
    assert num_products(x) == 1
    _, div = with_divergence(linear(A.expand(len(x), -1, -1)), x, signs.view(-1, 2, 3))
    u = signs.double()
    torch.testing.assert_close(div, torch.einsum("bd,de,be->b", u, A[0], u))
    torch.testing.assert_close(div.mean(), trace(A)[0])


def test_signs_are_not_used_where_it_can_be_exact(rng):
    A = torch.randn(5, 4, 4, generator=rng)
    x, u = torch.randn(2, 5, 4, generator=rng)
    assert torch.equal(with_divergence(linear(A), x, u)[1], with_divergence(linear(A), x)[1])


def test_no_grad_does_not_hinder_and_no_gradient_leaves(rng):
    x = torch.randn(5, 3, generator=rng).requires_grad_()
    with torch.no_grad():
        v, div = with_divergence(lambda x: x**3, x)
    torch.testing.assert_close(div, (3 * x**2).sum(1))
    inside = with_divergence(lambda x: x**3, x)
    assert not any(out.requires_grad for out in (v, div, *inside)) and x.grad is None
    plain = torch.ones(5, 3)
    with_divergence(lambda x: x**3, plain)
    assert not plain.requires_grad  # the caller's tensor is left as it was


@pytest.mark.parametrize("dims", [3, 7])
def test_rows_do_not_see_each_other(dims, rng):  # bitwise
    x, u = torch.randn(2, 6, dims, generator=rng)

    def parts(rows):
        return with_divergence(lambda x: x.sin() * x.flip(1), x[rows], u[rows])

    alone = [parts(slice(i, i + 1)) for i in range(6)]
    for whole, ones in zip(parts(slice(None)), zip(*alone, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(ones))


def test_directions_are_needed_in_many_dimensions():
    with pytest.raises(
        ValueError, match=r"more than 4 dimensions, got none for \(1, 5\)"
    ) as error:
        with_divergence(lambda x: x, torch.ones(2, 1, 5))
    assert "\n" not in str(error.value)
