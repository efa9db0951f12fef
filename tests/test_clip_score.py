"""The metric clip_score: of samples whose caption has words, and of no others."""

import pytest
import torch

from routing.clip_score import cosines
from routing.measures import METRICS, View

NUM, EMPTY = 8, [2, 5]


@pytest.fixture
def view(rng):
    features, texts = torch.randn(2, NUM, 5, generator=rng)
    texts = texts + features  # the mean is above 0
    texts[EMPTY] = torch.nan
    weights = torch.ones(3, NUM)
    weights[1, :4] = weights[2, 4:] = 0
    return View(
        features, None, weights, lambda kind: f"{kind}_toy", torch.arange(NUM), texts=texts
    )


def test_empty_captions_count_in_no_convention(view):
    told = [i for i in range(NUM) if i not in EMPTY]
    c = cosines(view.features[told], view.texts[told])
    measure = METRICS["clip_score"]()
    said = measure.scores(view)["clip_score_toy"]
    assert torch.equal(said[told], c) and said[EMPTY].isnan().all()
    found = measure.replicates(view)
    for row, mine in enumerate(([*range(6)], [3, 4, 5], [0, 1, 2])):  # of those with words
        mean = c[mine].mean().item()
        assert found["clip_score_toy"][row].item() == pytest.approx(mean)
        raised = 2.5 * c[mine].clamp_min(0).mean().item()
        assert found["clip_score_hessel_toy"][row].item() == pytest.approx(raised)
        assert found["clip_score_hundred_toy"][row].item() == pytest.approx(max(100 * mean, 0))
    assert measure.note(view) == "2 of 8 samples, with an empty caption, left out"


def test_where_no_caption_has_words_there_is_no_score(view):
    measure = METRICS["clip_score"]()
    view.texts[:] = torch.nan
    assert measure.scores(view) == measure.replicates(view) == {}


def test_with_words_in_all_nothing_is_noted(view, rng):
    view.texts[EMPTY] = torch.randn(2, 5, generator=rng)
    measure = METRICS["clip_score"]()
    assert measure.note(view) == "" and measure.scores(view)["clip_score_toy"].isfinite().all()
