"""Prompts: what the index says becomes what a network is told, the same before and after disk."""

import json

import numpy as np
import pytest
import torch
from stages import refused

from routing import models
from routing.conditions import Told
from routing.prompts import PROMPTERS, LabelPrompter, Prompter, TextPrompter, note, of_note

LABELS = np.array([9, 4, 4, 7, 9, 4])
CAPTIONS = ["a red fox", "Blue sky", "blue  sky", "a fox", "", "red"]
DROPPED = np.array([True, False, True, False, False, False])
EXAMPLES = {"label": LabelPrompter((4, 7, 9)), "text": TextPrompter(("a", "blue", "red", "sky"))}


def test_every_prompter_is_asked():
    assert EXAMPLES.keys() == PROMPTERS.keys()
    assert all(isinstance(EXAMPLES[name], kind) for name, kind in PROMPTERS.items())
    assert all(kind.kind == name for name, kind in PROMPTERS.items())


def network(prompter):
    options = {"patch_size": 2, "width": 8, "depth": 1, "num_heads": 2} | prompter.options()
    net = models.new_network(models.architecture((1, 4, 4), **options))
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Told(net.eval().requires_grad_(False))


@pytest.mark.parametrize("prompter", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_prompter_comes_back_from_its_note(prompter):
    assert isinstance(prompter, Prompter)
    prompter(LABELS, CAPTIONS)  # what it keeps for later calls is not of the note
    back = of_note(json.loads(json.dumps(note(prompter))))
    assert back == prompter and back.options() == prompter.options()
    assert note(prompter)["name"] == prompter.kind


def test_no_prompter_has_no_note():
    assert note(None) is None and of_note(None) is None


@pytest.mark.parametrize("prompter", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_dropped_prompts_are_the_null_condition_of_a_network(prompter, rng):
    told = network(prompter)
    x, t = torch.randn(6, 1, 4, 4, generator=rng), torch.rand(6, generator=rng)
    whole, null = told(x, t, prompter(LABELS, CAPTIONS)), told(x, t)
    found = told(x, t, prompter(LABELS, CAPTIONS, DROPPED))
    expected = torch.where(torch.tensor(DROPPED)[:, None, None, None], null, whole)
    torch.testing.assert_close(found, expected)
    assert (whole - null)[[0, 1, 2, 3, 5]].flatten(1).abs().amax(1).min() > 1e-3
    nothing = prompter(LABELS, CAPTIONS, np.zeros(6, bool))
    torch.testing.assert_close(told(x, t, nothing), whole)


@pytest.mark.parametrize("prompter", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_prompt_does_not_see_the_rest_of_the_batch(prompter, rng):
    told = network(prompter)
    x, t = torch.randn(6, 1, 4, 4, generator=rng), torch.rand(6, generator=rng)
    whole = told(x, t, prompter(LABELS, CAPTIONS))
    for i in range(6):
        one = told(x[i : i + 1], t[i : i + 1], prompter(LABELS[i : i + 1], CAPTIONS[i : i + 1]))
        torch.testing.assert_close(one, whole[i : i + 1])


def test_labels_are_told_as_ranks():
    made = LabelPrompter.of(LABELS, CAPTIONS)
    assert made == LabelPrompter((4, 7, 9)) and made.options() == {"num_classes": 3}
    assert made(LABELS, CAPTIONS).label.tolist() == [2, 0, 0, 1, 2, 0]
    assert made(LABELS, CAPTIONS, DROPPED).label.tolist() == [3, 0, 3, 1, 2, 0]
    words = LabelPrompter.of(np.array(["cat", "ant", "cat"], object), [])
    assert words.classes == ("ant", "cat")
    assert words(np.array(["cat", "ant"], object), []).label.tolist() == [1, 0]


@pytest.mark.parametrize("label", [3, 5, 10])
def test_a_label_that_nobody_was_trained_with_is_refused(label):
    with refused(f"label {label} is none of the 3 classes of the training data"):
        LabelPrompter((4, 7, 9))(np.array([4, label, 9]), [])


def test_captions_are_told_as_words():
    made = TextPrompter.of(LABELS, CAPTIONS)
    assert made.words == ("a", "blue", "fox", "red", "sky") and made.options() == {"text_dim": 5}
    told = made(LABELS, CAPTIONS, DROPPED)
    read = [
        [made.words[word] for word in text[mask].argmax(1)] if text.any() else []
        for text, mask in zip(told.text, told.text_mask, strict=True)
    ]
    assert read == [[], ["blue", "sky"], [], ["a", "fox"], [], ["red"]]
    assert told.label is None and made(LABELS, CAPTIONS).text.sum() == 3 + 2 + 2 + 2 + 1
