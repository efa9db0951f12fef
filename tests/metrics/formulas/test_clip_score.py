"""The metric clip_score: of samples whose caption has words, and of no others."""

import pytest
import torch

from routing.metrics.formulas.clip_score import cosines
from routing.metrics.table import METRICS, View

NUM, EMPTY = 8, [2, 5]


@pytest.fixture
def view(rng):
    features, texts, depicted = torch.randn(3, NUM, 5, generator=rng)
    texts = texts + features  # the mean is above 0
    texts[EMPTY] = depicted[EMPTY] = torch.nan
    weights = torch.ones(3, NUM)
    weights[1, :4] = weights[2, 4:] = 0
    captions = {"texts": texts, "depicted": depicted}
    return View(features, None, weights, lambda kind: f"{kind}_toy", torch.arange(NUM), **captions)


def test_empty_captions_count_in_no_convention(view):
    told = [i for i in range(NUM) if i not in EMPTY]
    c = cosines(view.features[told], view.texts[told])
    after = cosines(view.features[told], view.depicted[told])
    measure = METRICS["clip_score"]()
    scores = measure.scores(view)
    said, hessel = scores["clip_score_toy"], scores["clip_score_hessel_toy"]
    assert torch.equal(said[told], c) and said[EMPTY].isnan().all()
    assert torch.equal(hessel[told], 2.5 * after.clamp_min(0)) and hessel[EMPTY].isnan().all()
    assert scores.keys() == {"clip_score_toy", "clip_score_hessel_toy"}
    found = measure.replicates(view)
    for row, mine in enumerate(([*range(6)], [3, 4, 5], [0, 1, 2])):  # of those with words
        mean = c[mine].mean().item()
        assert found["clip_score_toy"][row].item() == pytest.approx(mean)
        raised = 2.5 * after[mine].clamp_min(0).mean().item()
        assert found["clip_score_hessel_toy"][row].item() == pytest.approx(raised)
        assert found["clip_score_hundred_toy"][row].item() == pytest.approx(max(100 * mean, 0))
    assert measure.note(view) == "2 of 8 samples, with an empty caption, left out"


def test_where_no_caption_has_words_there_is_no_score(view):
    measure = METRICS["clip_score"]()
    view.texts[:] = view.depicted[:] = torch.nan
    assert measure.scores(view) == measure.replicates(view) == {}


def test_with_words_in_all_nothing_is_noted(view, rng):
    view.texts[EMPTY], view.depicted[EMPTY] = torch.randn(2, 2, 5, generator=rng)
    measure = METRICS["clip_score"]()
    assert measure.note(view) == "" and measure.scores(view)["clip_score_toy"].isfinite().all()
