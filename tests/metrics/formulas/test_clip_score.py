"""The metric clip_score: of samples whose caption has words, and of no others."""

import pytest
import torch

from routing.metrics.formulas.clip_score import cosines
from routing.metrics.registry import METRICS, ArmSamples

NUM, EMPTY = 8, [2, 5]


@pytest.fixture
def arm(rng):
    features, texts, depicted = torch.randn(3, NUM, 5, generator=rng)
    texts = texts + features  # the mean is above 0
    texts[EMPTY] = depicted[EMPTY] = torch.nan
    weights = torch.ones(3, NUM)
    weights[1, :4] = weights[2, 4:] = 0
    captions = {"caption_features": texts, "prefixed_caption_features": depicted}
    name, order = lambda kind: f"{kind}_toy", torch.arange(NUM)
    return ArmSamples(features, None, weights, name, order, **captions)


def test_empty_captions_count_in_no_convention(arm):
    with_words = [i for i in range(NUM) if i not in EMPTY]
    c = cosines(arm.features[with_words], arm.caption_features[with_words])
    after = cosines(arm.features[with_words], arm.prefixed_caption_features[with_words])
    metric = METRICS["clip_score"]()
    scores = metric.scores(arm)
    cosine, hessel = scores["clip_score_toy"], scores["clip_score_hessel_toy"]
    assert torch.equal(cosine[with_words], c) and cosine[EMPTY].isnan().all()
    assert torch.equal(hessel[with_words], 2.5 * after.clamp_min(0))
    assert hessel[EMPTY].isnan().all()
    assert scores.keys() == {"clip_score_toy", "clip_score_hessel_toy"}
    found = metric.replicates(arm)
    for row, mine in enumerate(([*range(6)], [3, 4, 5], [0, 1, 2])):  # of those with words
        mean = c[mine].mean().item()
        assert found["clip_score_toy"][row].item() == pytest.approx(mean)
        raised = 2.5 * after[mine].clamp_min(0).mean().item()
        assert found["clip_score_hessel_toy"][row].item() == pytest.approx(raised)
        assert found["clip_score_hundred_toy"][row].item() == pytest.approx(max(100 * mean, 0))
    assert metric.note(arm) == "2 of 8 samples left out, because their caption is empty"


def test_where_no_caption_has_words_there_is_no_score(arm):
    metric = METRICS["clip_score"]()
    arm.caption_features[:] = arm.prefixed_caption_features[:] = torch.nan
    assert metric.scores(arm) == metric.replicates(arm) == {}


def test_with_words_in_all_nothing_is_noted(arm, rng):
    texts, prefixed = torch.randn(2, 2, 5, generator=rng)
    arm.caption_features[EMPTY], arm.prefixed_caption_features[EMPTY] = texts, prefixed
    metric = METRICS["clip_score"]()
    assert metric.note(arm) == "" and metric.scores(arm)["clip_score_toy"].isfinite().all()
