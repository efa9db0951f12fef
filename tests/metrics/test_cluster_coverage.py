"""The interval of `cluster_coverage` covers the ratio of a starved cluster."""

import numpy as np
import pytest
import torch

from routing.metrics.cluster_shares import ClusterShares
from routing.metrics.protocol import ArmSamples
from routing.statistics.jackknife import jackknife_weights, seed_blocks
from routing.statistics.proportions import Proportion, proportion_interval

NUM = 400
WEIGHTS = jackknife_weights(seed_blocks(NUM, 20))
NONE = torch.zeros(NUM, 1)
Q = torch.tensor([0.4, 0.3, 0.18, 0.1, 0.02, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("expected", [0.5, 1, 3, 12])
def test_the_coverage_of_a_starved_cluster_covers_as_it_says(expected):
    """Cluster 3 has 0.5 to 12 of 400 samples, where the training images would give 40."""
    rng, share, covered = np.random.default_rng(0), expected / NUM, []
    p = Q / (1 - Q[3]) * (1 - share)  # cluster 4 has few samples, but its share of them
    p[3] = share
    measure = ClusterShares()
    for _ in range(400):
        labels = torch.from_numpy(rng.choice(6, NUM, p=p))
        arm = ArmSamples(
            NONE, None, WEIGHTS, str, torch.arange(NUM), clusters=labels, cluster_shares=Q
        )
        replicates = measure.replicates(arm)["cluster_coverage"][None]
        score = measure.scores(arm)["cluster_coverage"]
        assert score.mean().item() == pytest.approx(replicates[0, 0].item())
        scale = np.array([measure.count_scales(arm)["cluster_coverage"]])
        counted = Proportion(score.numpy().nonzero()[0], NUM, scale)
        _, lo, hi, *_ = proportion_interval(counted, replicates)
        assert lo < hi
        covered.append(lo <= share / 0.1 <= hi)
    assert np.mean(covered) >= 0.93
