"""The policies that draw an expert: which one, and how often."""

import pytest
import scipy.stats
import torch

from routing.ensemble.policies import Sample, Sticky


def test_samples_are_drawn_at_the_edges_of_the_unit_interval():
    def index(p, u, dtype=torch.float32):
        p, u = torch.tensor([p]), torch.tensor([u], dtype=dtype)
        return Sample()(p, torch.ones(1), u, None)[0].argmax().item()

    assert index([0.0, 0.3, 0.0, 0.7, 0.0], 0.0) == 1  # never an expert with p = 0
    assert index([0.0, 0.25, 0.0, 0.75, 0.0], 0.25) == 3  # [cdf[k-1], cdf[k])
    assert index([0.0, 0.3, 0.0, 0.7, 0.0], 1 - 2**-24) == 3
    assert index([0.5, 0.5 - 1e-6, 0.0], 1 - 2**-24) == 1  # cdf ends below 1
    assert index([0.1] * 10 + [0.0], 1 - 2**-53, torch.float64) == 9
    assert index([0.5, 0.5 + 1e-6, 0.0], 1 - 2**-24) == 1  # cdf ends above 1


@pytest.mark.parametrize("policy", [Sample(), Sticky()], ids=str)
def test_frequencies_of_the_draws_are_the_posterior(policy, rng):
    num = 20_000
    p = torch.tensor([0.02, 0.0, 0.5, 0.18, 0.3])
    u = torch.rand(num, generator=rng)
    w, _ = policy(p.repeat(num, 1), torch.ones(num), u, None)
    counts, live = w.sum(dim=0), p > 0
    assert counts[1] == 0 and set(w.unique().tolist()) == {0, 1}
    assert scipy.stats.chisquare(counts[live].numpy(), num * p[live].numpy()).pvalue > 0.01
    # Equal steps through [0, 1) give the shares exactly: a stronger test than any frequency.
    u = (torch.arange(1000) + 0.5) / 1000
    w, _ = policy(p.repeat(1000, 1), torch.ones(1000), u, None)
    assert w.sum(dim=0).tolist() == [20, 0, 500, 180, 300]
