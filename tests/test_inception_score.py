"""Inception score against torch-fidelity and closed forms."""

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from routing.inception_score import fidelity_order, inception_score, inception_score_spread


def score(logits, num_splits, weights=None):
    weights = torch.ones(1, len(logits)) if weights is None else weights
    return inception_score(logits, fidelity_order(len(logits)), num_splits, weights)


def test_it_is_that_of_torch_fidelity(rng):
    logits = 3 * torch.randn(203, 17, generator=rng, dtype=torch.float64)
    for splits in (1, 4, 10):
        theirs = isc_features_to_metric(logits, splits=splits, shuffle=True, rng_seed=2020)
        assert score(logits, splits).item() == pytest.approx(
            theirs["inception_score_mean"], rel=1e-10
        )
        order, once = fidelity_order(203), torch.ones(1, 203)
        spread = inception_score_spread(logits, order, splits, once)
        assert spread.item() == pytest.approx(theirs["inception_score_std"], rel=1e-8, abs=1e-12)


def test_nothing_told_apart_is_one_and_all_classes_surely_are_their_number():
    assert score(torch.zeros(40, 6), 4).item() == pytest.approx(1)
    sure = 200.0 * torch.eye(5).repeat(8, 1)
    assert score(sure, 1).item() == pytest.approx(5)


def test_it_falls_with_fewer_samples_per_split(rng):
    logits = torch.randn(400, 50, generator=rng)
    assert score(logits, 1) > score(logits, 10)


def test_a_replicate_is_the_deal_without_the_samples_left_out(rng):
    logits = torch.randn(30, 5, generator=rng, dtype=torch.float64)
    weights = torch.ones(2, 30)
    weights[1, :7] = 0
    order, p = fidelity_order(30), logits.softmax(1)
    values = []
    for part in order.chunk(3):
        kept = p[part[part >= 7]]
        q = kept.mean(0)
        values.append((kept * (kept / q).log()).sum(1).mean().exp())
    found = score(logits, 3, weights)
    assert found[1].item() == pytest.approx(torch.stack(values).mean().item())
    assert found[0].item() == pytest.approx(score(logits, 3).item())


@pytest.mark.parametrize(("num", "splits"), [(3, 4), (0, 1)])
def test_more_splits_than_samples_are_refused(num, splits):
    with pytest.raises(ValueError) as error:
        score(torch.zeros(num, 4), splits)
    assert "\n" not in str(error.value)
