"""The policy `nucleus`: the number of experts it keeps."""

import pytest
import torch

from routing.ensemble.policies import Nucleus


@pytest.mark.parametrize("num_experts", [2, 5, 7, 8, 10, 14, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nucleus_counts_experts_at_equal_shares(num_experts, dtype):
    p = torch.full((1, num_experts), 1 / num_experts, dtype=dtype)
    for kept in range(1, num_experts + 1):
        for mass in (kept / num_experts, (kept - 0.5) / num_experts, (kept - 1e-5) / num_experts):
            w, _ = Nucleus(mass)(p, torch.ones(1), torch.zeros(1), None)
            assert (w > 0).sum() == kept


def test_nucleus_at_its_edges():
    t, u = torch.ones(1), torch.zeros(1)
    p = torch.tensor([[0.1, 0.0, 0.6, 0.3]])
    for mass, kept in [(0.6, [2]), (0.61, [2, 3]), (0.9, [2, 3]), (0.91, [0, 2, 3])]:
        assert Nucleus(mass)(p, t, u, None)[0].nonzero()[:, 1].tolist() == kept
    # The tail is lost beside 1 in single precision; a mass of 1 keeps it all the same.
    p = torch.tensor([[1.0, 1e-9, 0.0, 1e-30]])
    assert (Nucleus(1.0)(p, t, u, None)[0] > 0).tolist() == [[True, True, False, True]]
    assert (Nucleus(0.999)(p, t, u, None)[0] > 0).tolist() == [[True, False, False, False]]
    p = torch.tensor([[0.5 - 1e-7, 0.5 - 1e-7]])  # a row sum below 1 - mass
    assert Nucleus(1e-9)(p, t, u, None)[0].tolist() == [[1, 0]]
