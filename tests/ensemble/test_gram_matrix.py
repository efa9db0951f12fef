"""The Gram matrix against the velocities it came from, and best weights against other solvers."""

import itertools
import math

import pytest
import scipy.optimize
import torch

from routing.ensemble import gram_matrix
from routing.ensemble.gram_matrix import (
    best_single,
    best_subset,
    best_weights,
    disagreement,
    ensemble_error,
    error_matrix,
    expert_errors,
    mean_by_time,
    weighted_disagreement,
)


def velocities(rng, experts=4, batch=16, dims=(3, 8, 8), common=0.0):
    """(v [experts batch *dims], target), float32, with an error that all experts share."""
    v = torch.randn(experts, batch, *dims, generator=rng)
    target = torch.randn(batch, *dims, generator=rng)
    return v + common * torch.randn(batch, *dims, generator=rng), target


def simplex(rng, batch, experts):
    w = torch.rand(batch, experts, generator=rng).log().neg()
    return w / w.sum(1, keepdim=True)


def grams(rng, batch=32, experts=5, dim=20, dtype=torch.float64):
    """Of experts that differ in quality and share part of their errors."""
    errors = torch.randn(batch, experts, dim, generator=rng, dtype=torch.float64)
    errors *= 2 * torch.rand(batch, experts, 1, generator=rng, dtype=torch.float64) + 0.1
    errors += torch.randn(batch, 1, dim, generator=rng, dtype=torch.float64)
    return (errors @ errors.mT / dim).to(dtype)


# The matrix against the velocities themselves


@pytest.mark.parametrize("common", [0.0, 1.0, 100.0])
def test_the_error_of_every_ensemble_is_in_the_matrix(rng, common):
    v, target = velocities(rng, common=common)
    w = simplex(rng, 16, 4)
    G = gram_matrix.gram(v, target)
    mixed = torch.einsum("bk,kb...->b...", w, v)
    expected = (mixed.double() - target.double()).square().flatten(1).mean(1).float()
    torch.testing.assert_close(ensemble_error(w, G), expected, rtol=1e-5, atol=0.0)
    everywhere = ensemble_error(w[:1], G)
    torch.testing.assert_close(everywhere, ensemble_error(w[:1].expand(16, -1), G))


def test_the_matrix_by_loop_and_to_one_rounding(rng):
    v, target = velocities(rng, experts=3, batch=2, dims=(60_000,), common=30.0)
    G = gram_matrix.gram(v, target)
    assert G.dtype == torch.float32
    for b, i, j in itertools.product(range(2), range(3), range(3)):
        e_i, e_j = (v[k, b].double() - target[b].double() for k in (i, j))
        expected = math.fsum((e_i * e_j).tolist()) / 60_000
        assert G[b, i, j].item() == pytest.approx(expected, rel=6.1e-8)
        apart = (v[i, b].double() - v[j, b].double()).square().mean().item()
        assert disagreement(G)[b, i, j].item() == pytest.approx(apart, abs=3e-7 * 1000)


def test_half_precision_is_left_before_the_difference(rng):
    v, target = (a.bfloat16() for a in velocities(rng, common=3.0))
    exact = gram_matrix.gram(v.double(), target.double())
    torch.testing.assert_close(gram_matrix.gram(v, target), exact, rtol=1e-7, atol=0.0)


def test_errors_of_experts_and_their_disagreement(rng):
    v, target = velocities(rng)
    G = gram_matrix.gram(v, target)
    alone = (v - target).square().flatten(2).mean(2).T
    torch.testing.assert_close(expert_errors(G), alone)
    apart = (v[:, None] - v[None]).square().flatten(3).mean(3).permute(2, 0, 1)
    D = disagreement(G)
    torch.testing.assert_close(D, apart, rtol=1e-5, atol=1e-6)
    p = simplex(rng, 16, 4)
    mean = torch.einsum("bk,kb...->b...", p, v)
    spread = torch.einsum("bk,kb->b", p, (v - mean).square().flatten(2).mean(2))
    torch.testing.assert_close(weighted_disagreement(p, D), spread, rtol=1e-5, atol=1e-6)
    ambiguity = (p * expert_errors(G)).sum(1) - ensemble_error(p, G)
    torch.testing.assert_close(weighted_disagreement(p, D), ambiguity, rtol=1e-4, atol=1e-5)


def test_a_distance_is_never_negative(rng):
    v, target = velocities(rng, experts=6, common=1000.0)
    v[1::2] = v[::2] + 1e-4 * torch.randn(v[::2].shape, generator=rng)
    D = disagreement(gram_matrix.gram(v, target))
    assert (D >= 0).all() and (D.diagonal(dim1=1, dim2=2) == 0).all()


def test_the_best_single_expert_and_its_ties():
    G = torch.diag_embed(torch.tensor([[3.0, 1.0, 2.0], [2.0, 1.0, 1.0], [5.0, 5.0, 5.0]]))
    assert best_single(G).tolist() == [1, 1, 0]


# Tables by time


def test_means_by_cluster_and_time_are_those_of_a_loop(rng):
    G = grams(rng, batch=200, experts=3, dtype=torch.float32)
    t, cluster = torch.rand(200, generator=rng), torch.randint(3, (200,), generator=rng)
    edges = torch.tensor([0.0, 0.1, 0.5, 0.95, 1.0])
    t[:5] = edges
    cluster[t >= 0.95] = 1
    found = error_matrix(G, cluster, t, edges)
    apart = mean_by_time(disagreement(G), t, edges)
    assert found.shape == (3, 3, 4) and apart.shape == (4, 3, 3)
    for b in range(4):
        is_in = [
            edges[b] <= s < edges[b + 1] or (b == 3 and s == edges[-1].item()) for s in t.tolist()
        ]
        is_in = torch.tensor(is_in)
        torch.testing.assert_close(apart[b], disagreement(G)[is_in].mean(0))
        for c, k in itertools.product(range(3), range(3)):
            here = G[is_in & (cluster == c), k, k]
            expected = here.mean() if len(here) else torch.tensor(math.nan)
            torch.testing.assert_close(found[c, k, b], expected, equal_nan=True)
    assert found[0, :, 3].isnan().all() and not found[1].isnan().any()


def test_a_time_outside_the_edges_is_refused(rng):
    G, edges = grams(rng, batch=2), torch.tensor([0.2, 0.8]).double()
    for outside in (0.1, 0.9):
        with pytest.raises(ValueError, match=r"^times must be in 0.2..0.8 \(edges\), got"):
            mean_by_time(G, torch.tensor([0.5, outside]).double(), edges)


# The best weights


def by_supports(G, k=None):
    """Least error on the simplex, from all faces of at most `k` experts: KKT by least squares."""
    num = len(G)
    best, least = None, math.inf
    for size in range(1, (k or num) + 1):
        for support in itertools.combinations(range(num), size):
            part = G[list(support)][:, list(support)]
            kkt = torch.ones(size + 1, size + 1, dtype=G.dtype)
            kkt[:size, :size], kkt[-1, -1] = part, 0.0
            right = torch.zeros(size + 1, 1, dtype=G.dtype)
            right[-1] = 1.0
            w = torch.linalg.lstsq(kkt, right, driver="gelsd").solution[:size, 0]
            if (w >= -1e-9).all() and (w @ part @ w).item() < least - 1e-13:
                best, least = support, (w @ part @ w).item()
    return best, least


def by_scipy(G):
    """Least error on the simplex by sequential quadratic programming."""
    G, num = G.numpy(), len(G)
    found = scipy.optimize.minimize(
        lambda w: w @ G @ w,
        [1 / num] * num,
        jac=lambda w: 2 * G @ w,
        bounds=[(0, 1)] * num,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.fun


KINDS = {
    "generic": lambda rng: grams(rng),
    "two": lambda rng: grams(rng, experts=2),
    "eight": lambda rng: grams(rng, experts=8, dim=50),
    "rank_two": lambda rng: grams(rng, experts=6, dim=2),
    "equal": lambda rng: grams(rng)[:, [0, 1, 1, 2, 0]][:, :, [0, 1, 1, 2, 0]],
    "all_equal": lambda rng: grams(rng)[:, [0, 0, 0]][:, :, [0, 0, 0]],
    "hopeless": lambda rng: grams(rng) * (e := torch.tensor([1e3, 1, 1, 1e3, 1])) * e[:, None],
}


@pytest.mark.parametrize("kind", KINDS)
def test_best_weights_against_two_other_solvers(kind, rng):
    G = KINDS[kind](rng)
    w = best_weights(G)
    assert w.dtype == G.dtype and (w >= 0).all()
    torch.testing.assert_close(w.sum(1), torch.ones(len(w), dtype=w.dtype))
    scale = expert_errors(G).amin(1)
    slope = (G @ w[:, :, None])[:, :, 0]
    value = ensemble_error(w, G)
    # KKT: the slope is the value on the support and no less elsewhere.
    assert (slope - value[:, None] >= -1e-9 * scale[:, None]).all()
    assert ((slope - value[:, None]).abs() * (w > 0) <= 1e-8 * scale[:, None]).all()
    for row, found, unit in zip(G, value.tolist(), scale.tolist(), strict=True):
        assert found == pytest.approx(by_supports(row)[1], abs=1e-9 * unit)
        if kind != "hopeless":
            assert found == pytest.approx(by_scipy(row), abs=1e-6 * unit)


@pytest.mark.parametrize("dim", [1, 2, 7])
@pytest.mark.parametrize("kind", ["plain", "equal", "nearly_equal", "of_any_size"])
def test_best_weights_of_more_experts_than_dimensions(kind, dim, rng):
    """Many ties, small pivots: still the smallest error, and an end."""
    e = (
        torch.randn(2000, 8, dim, generator=rng).double()
        + torch.randn(2000, 1, dim, generator=rng).double()
    )
    if kind == "of_any_size":
        e *= 10 ** (12 * torch.rand(2000, 8, 1, generator=rng).double())
    elif kind != "plain":
        e[:, 4:] = e[:, :4] + 1e-7 * (kind == "nearly_equal") * e[:, 4:]
    G = e @ e.mT / dim
    w = best_weights(G)
    slope = torch.einsum("bkd,bjd,bj->bk", e, e, w) / dim
    gap = torch.einsum("bkd,bk->bd", e, w).square().mean(1) - slope.amin(1)
    assert (gap <= 1e-11 * (w * expert_errors(G)).sum(1)).all()


@pytest.mark.parametrize("dim", [2, 50])
def test_best_weights_of_rounded_matrices(dim, rng):
    """Float32 makes a singular matrix indefinite by 1e-7; the value is right to 1e-6."""
    G = grams(rng, batch=256, experts=8, dim=dim)
    w = best_weights(G.float()).double()
    exact = ensemble_error(best_weights(G), G)
    unit = (w * expert_errors(G)).sum(1) + expert_errors(G).amin(1)
    assert (ensemble_error(w / w.sum(1, keepdim=True), G) - exact <= 1e-6 * unit).all()


def test_best_weights_in_closed_form():
    # independent errors: w_k ~ 1 / G_kk
    G = torch.diag_embed(torch.tensor([[1.0, 2.0, 4.0], [0.1, 10.0, 1000.0]]).double())
    expected = 1 / expert_errors(G)
    torch.testing.assert_close(best_weights(G), expected / expected.sum(1, keepdim=True))
    # opposite errors cancel
    e = torch.tensor([[1.0, -3.0]]).double()
    G = e[:, :, None] * e[:, None]
    torch.testing.assert_close(best_weights(G), torch.tensor([[0.75, 0.25]]).double())
    # a worse expert, right along the better one's error, has no weight
    e = torch.tensor([[1.0, 2.0]]).double()
    assert best_weights(e[:, :, None] * e[:, None]).tolist() == [[1.0, 0.0]]
    # a perfect expert; only perfect ones; one expert
    perfect = best_weights(torch.diag(torch.tensor([1.0, 0.0, 2.0]))[None])
    torch.testing.assert_close(perfect, torch.tensor([[0.0, 1.0, 0.0]]), rtol=0.0, atol=1e-15)
    assert best_weights(torch.zeros(1, 3, 3)).sum() == 1
    assert best_weights(torch.full((2, 1, 1), 7.0)).tolist() == [[1], [1]]


def test_best_weights_of_a_set_of_states(rng):
    G = grams(rng, batch=64)
    constant = best_weights(G.mean(0, keepdim=True))
    assert ensemble_error(constant, G).mean().item() == pytest.approx(by_supports(G.mean(0))[1])
    assert ensemble_error(best_weights(G), G).mean() < ensemble_error(constant, G).mean()


def test_best_weights_know_no_order_no_scale_and_no_neighbour(rng):
    G = grams(rng, batch=64, experts=6)
    w, order = best_weights(G), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(best_weights(G[:, order][:, :, order]), w[:, order])
    torch.testing.assert_close(best_weights(1e-6 * G), w)
    assert torch.equal(torch.cat([best_weights(G[i : i + 1]) for i in range(64)]), w)


def test_many_states(rng):
    G = grams(rng, batch=20_000, experts=8, dim=30, dtype=torch.float32)
    w = best_weights(G).double()
    slope = (G.double() @ w[:, :, None])[:, :, 0]
    gap = (w * slope).sum(1) - slope.amin(1)  # twice an upper bound of what is lost
    assert (gap <= 1e-6 * (w * expert_errors(G)).sum(1)).all()


# The best subset


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["generic", "equal", "rank_two"])
def test_the_best_subset_against_all_faces(kind, k, rng):
    G = KINDS[kind](rng)
    w = best_subset(G, k)
    assert ((w > 0).sum(1) <= k).all() and (w >= 0).all()
    torch.testing.assert_close(w.sum(1), torch.ones(len(w), dtype=w.dtype))
    for row, found in zip(G, ensemble_error(w, G).tolist(), strict=True):
        assert found == pytest.approx(by_supports(row, k)[1], abs=1e-9 * row.max().item())


def test_the_best_one_and_the_best_of_all(rng):
    G = grams(rng)
    assert torch.equal(best_subset(G, 1).argmax(1), best_single(G))
    assert torch.equal(best_subset(G, 5), best_weights(G))


def test_subsets_are_refused_when_there_are_none_or_too_many(rng):
    G = grams(rng, batch=1, experts=12)
    for k in (0, 13):
        with pytest.raises(ValueError, match=rf"^best_subset: k must be in 1..12 .*got k={k}"):
            best_subset(G, k)
    with pytest.raises(
        ValueError, match=r"at most 256 subsets can be evaluated, got 495 \(4 of 12"
    ):
        best_subset(G, 4)
    assert (best_subset(G, 3) > 0).sum() <= 3
