"""The policy `threshold` at its threshold."""

import torch

from routing.ensemble.policies import Threshold


def test_threshold_keeps_an_expert_exactly_at_it():
    p = torch.tensor([[0.25, 0.5, 0.25 - 1e-6, 1e-6]])
    w, _ = Threshold(0.25)(p, torch.ones(1), torch.zeros(1), None)
    torch.testing.assert_close(w, torch.tensor([[1 / 3, 2 / 3, 0, 0]]))
