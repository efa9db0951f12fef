"""Inception score against torch-fidelity and closed forms."""

import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from routing.metrics.formulas.inception_score import (
    inception_score,
    inception_score_spread,
    torch_fidelity_order,
)


def score(logits, num_splits, weights=None):
    weights = torch.ones(1, len(logits)) if weights is None else weights
    return inception_score(logits, torch_fidelity_order(len(logits)), num_splits, weights)


def test_it_is_that_of_torch_fidelity(rng):
    logits = 3 * torch.randn(203, 17, generator=rng, dtype=torch.float64)
    for splits in (1, 4, 10):
        theirs = isc_features_to_metric(logits, splits=splits, shuffle=True, rng_seed=2020)
        assert score(logits, splits).item() == pytest.approx(
            theirs["inception_score_mean"], rel=1e-10
        )
        order, once = torch_fidelity_order(203), torch.ones(1, 203)
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
    order, p = torch_fidelity_order(30), logits.softmax(1)
    values = []
    for part in order.chunk(3):
        kept = p[part[part >= 7]]
        q = kept.mean(0)
        values.append((kept * (kept / q).log()).sum(1).mean().exp())
    found = score(logits, 3, weights)
    assert found[1].item() == pytest.approx(torch.stack(values).mean().item())
    assert found[0].item() == pytest.approx(score(logits, 3).item())


def test_a_count_is_a_repetition_in_its_split(rng):
    """Rows in the order that is given: split 0 is 0..3, split 1 is 4..8."""
    logits, order = torch.randn(9, 5, generator=rng, dtype=torch.float64), torch.arange(9)
    w = torch.tensor([[1.0, 0, 2, 1, 0, 0, 3, 1, 1]])
    parts = [
        inception_score(z, torch.arange(len(z)), 1, torch.ones(1, len(z)))
        for z in (logits[[0, 2, 2, 3]], logits[[6, 6, 6, 7, 8]])
    ]
    torch.testing.assert_close(inception_score(logits, order, 2, w)[0], sum(parts)[0] / 2)
    spread = (parts[0] - parts[1]).abs()[0] / 2
    torch.testing.assert_close(inception_score_spread(logits, order, 2, w)[0], spread)


def test_single_precision_is_counted_in_double_and_any_order_is_taken(rng):
    logits = torch.randn(60, 7, generator=rng)
    double = score(logits.double(), 4)
    assert torch.equal(score(logits, 4), double) and double.dtype == torch.float64
    order = torch.randperm(60, generator=rng)
    dealt = inception_score(logits[order], torch.arange(60), 4, torch.ones(1, 60))
    torch.testing.assert_close(inception_score(logits, order, 4, torch.ones(1, 60)), dealt)


def test_the_right_way_round(rng):
    """Surer samples score higher, fewer classes lower; a collapsed generator scores 1."""
    classes = torch.arange(120) % 6
    sure = [score(s * torch.eye(6)[classes], 1).item() for s in (0, 1, 3, 9)]
    assert sure == sorted(sure) and sure[0] == pytest.approx(1) and sure[3] > 5.8
    certain = 900 * torch.eye(6)  # all others have probability 0, and 0 log 0 = 0
    some = [score(certain[classes % num], 1).item() for num in (1, 2, 3, 6)]
    assert some == pytest.approx([1, 2, 3, 6])


def test_bad_input_is_one_line():
    x, order, once = torch.zeros(4, 3), torch.arange(4), torch.ones(1, 4)
    broken, few = x.clone(), torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]])
    broken[2] = torch.nan
    refused = [
        ((x, order, 5, once), r"num_splits: wanted 1\.\.4 \(samples\), got 5"),
        ((x, order, 0, once), r"num_splits: wanted 1\.\.4 \(samples\), got 0"),
        ((x[:0], order[:0], 1, once[:, :0]), r"num_splits: wanted 1\.\.0 \(samples\), got 1"),
        ((broken, order, 1, once), "samples: wanted finite features, got nan or inf in 1 of 4"),
        ((x, order % 3, 1, once), r"order: wanted every sample of 0\.\.3 once, got another list"),
        ((x, order, 2, few), "got none in split 1 of replicate 1; take fewer splits"),
        ((x, order, 1, once / 2), "weights: wanted whole numbers"),
    ]
    for arguments, message in refused:
        for form in (inception_score, inception_score_spread):
            with pytest.raises(ValueError, match=message) as error:
                form(*arguments)
            assert "\n" not in str(error.value) and "; " in str(error.value)
