"""The objective `velocity_topk`: the expected error over subsets of experts."""

import dataclasses
import math

import pytest
import torch
from objective_batches import make_batch, make_net, over_subsets, softmax

from routing.ensemble.gram_matrix import ensemble_error, gram
from routing.ensemble.objectives.velocity_topk import VelocityTopK, expected_subset_error


def test_one_expert_and_all_experts(rng):
    z = torch.randn(9, 5, generator=rng).double()
    G = gram(torch.randn(5, 9, 7, generator=rng), torch.randn(9, 7, generator=rng)).double()
    p = z.softmax(1)
    torch.testing.assert_close(expected_subset_error(z, G, 1), torch.einsum("bk,bkk->b", p, G))
    torch.testing.assert_close(expected_subset_error(z, G, 5), ensemble_error(p, G))


def test_for_large_logits_it_is_the_error_of_the_top_k_weights(rng):
    """As logits grow the drawn subset is the top-k set; its weights keep their ratios."""
    G = make_batch(rng).gram
    z = torch.tensor([[300.0, 299.0, 0.0, -400.0]]).double().expand(12, 4)
    one = 1 / (1 + math.exp(-1))
    w = torch.tensor([[one, 1 - one, 0.0, 0.0]]).double()
    torch.testing.assert_close(expected_subset_error(z, G, 2), ensemble_error(w, G))
    torch.testing.assert_close(expected_subset_error(z, G, 3), ensemble_error(w, G))
    torch.testing.assert_close(
        expected_subset_error(2 * z, G, 1), 0.88079708 * G[:, 0, 0] + 0.11920292 * G[:, 1, 1]
    )


def test_k_is_drawn_from_1_to_max_k_in_equal_parts(rng):
    batch, net = make_batch(rng, num=4), make_net(rng)
    z = net(batch.x, batch.t)
    for u, k in ((0.0, 1), (0.33, 1), (0.34, 2), (0.66, 2), (0.67, 3), (1 - 2**-24, 3)):
        drawn = dataclasses.replace(batch, uniforms=torch.full((4,), u).double())
        expected = expected_subset_error(z, batch.gram, k).mean()
        torch.testing.assert_close(VelocityTopK(3)(net, drawn), expected)


def test_of_many_experts_the_eight_most_probable_are_candidates(rng):
    batch = make_batch(rng, experts=11)
    z = 2 * torch.randn(12, 11, generator=rng).double()
    expected = 0.0
    for i in range(12):
        kept = sorted(range(11), key=lambda k: -z[i, k].item())[:8]
        G = batch.gram[i][kept][:, kept].tolist()
        k = 1 + math.floor(batch.uniforms[i].item() * 3)
        expected += over_subsets(softmax(z[i, kept].tolist()), G, k) / 12
    assert VelocityTopK(3)(lambda x, t: z, batch).item() == pytest.approx(expected)
