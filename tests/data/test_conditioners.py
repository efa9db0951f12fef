"""Conditioners: labels and captions become conditions, the same before and after disk."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from stages import make as artifact
from stages import refused, run

from routing.data import conditioners
from routing.data.caption_tokens import CaptionTable
from routing.data.conditioners import (
    CONDITIONERS,
    CaptionTableConditioner,
    Conditioner,
    LabelConditioner,
    WordConditioner,
    from_metadata,
    to_metadata,
)
from routing.flow import paths
from routing.flow.conditions import ConditionedNetwork
from routing.loading import models
from routing.pretrained import text_encoders
from routing.workflow import artifacts
from routing.workflow.job import Job

LABELS = np.array([9, 4, 4, 7, 9, 4])
CAPTIONS = ["a red fox", "Blue sky", "blue  sky", "a fox", "", "red"]
DROPPED = np.array([True, False, True, False, False, False])
TRAIN = pd.DataFrame({"label": LABELS, "caption": CAPTIONS})


def table(seed=0, encoder="sentence", digest="d0", captions=CAPTIONS):
    """Made-up tokens, 3 features, of 1 to 4 keys."""
    captions = sorted(set(captions) - {""})
    mask = np.arange(4)[None] < np.arange(len(captions))[:, None] % 4 + 1
    drawn = np.random.default_rng(seed).normal(size=(*mask.shape, 3))
    text = (drawn * mask[..., None]).astype(np.float16)
    return CaptionTable(captions, text, mask, encoder, digest)


TABLE = table()
EXAMPLES = {
    "label": LabelConditioner((4, 7, 9)),
    "text": WordConditioner(("a", "blue", "red", "sky")),
    "table": CaptionTableConditioner("sentence", 3, "d0", TABLE),
}


def test_every_prompter_is_asked():
    assert EXAMPLES.keys() == CONDITIONERS.keys()
    assert all(isinstance(EXAMPLES[name], kind) for name, kind in CONDITIONERS.items())
    kinds = {name: kind.kind for name, kind in CONDITIONERS.items()}
    assert kinds == {"label": "label", "text": "text", "table": "text"}


def network(conditioner):
    options = {"patch_size": 2, "width": 8, "depth": 1, "num_heads": 2} | conditioner.options()
    net = models.build_dit(models.dit_config((1, 4, 4), **options))
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return ConditionedNetwork(net.eval().requires_grad_(False))


@pytest.mark.parametrize("conditioner", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_prompter_comes_back_from_its_note(conditioner):
    assert isinstance(conditioner, Conditioner)
    conditioner(LABELS, CAPTIONS)  # what it keeps for later calls is not of the note
    back = from_metadata(json.loads(json.dumps(to_metadata(conditioner))), TABLE)
    assert back == conditioner and back.options() == conditioner.options()
    assert CONDITIONERS[to_metadata(conditioner)["name"]] is type(conditioner)
    one, other = conditioner(LABELS, CAPTIONS), back(LABELS, CAPTIONS)
    for name in ("label", "text", "text_mask"):
        a, b = getattr(one, name), getattr(other, name)
        assert a is b is None or torch.equal(a, b)


def test_no_prompter_has_no_note():
    assert to_metadata(None) is None and from_metadata(None) is None


@pytest.mark.parametrize("conditioner", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_dropped_prompts_are_the_null_condition_of_a_network(conditioner, rng):
    told = network(conditioner)
    x, t = torch.randn(6, 1, 4, 4, generator=rng), torch.rand(6, generator=rng)
    whole, null = told(x, t, conditioner(LABELS, CAPTIONS)), told(x, t)
    found = told(x, t, conditioner(LABELS, CAPTIONS, DROPPED))
    expected = torch.where(torch.tensor(DROPPED)[:, None, None, None], null, whole)
    torch.testing.assert_close(found, expected)
    assert (whole - null)[[0, 1, 2, 3, 5]].flatten(1).abs().amax(1).min() > 1e-3
    nothing = conditioner(LABELS, CAPTIONS, np.zeros(6, bool))
    torch.testing.assert_close(told(x, t, nothing), whole)


@pytest.mark.parametrize("conditioner", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_prompt_does_not_see_the_rest_of_the_batch(conditioner, rng):
    told = network(conditioner)
    x, t = torch.randn(6, 1, 4, 4, generator=rng), torch.rand(6, generator=rng)
    whole = told(x, t, conditioner(LABELS, CAPTIONS))
    for i in range(6):
        one = told(x[i : i + 1], t[i : i + 1], conditioner(LABELS[i : i + 1], CAPTIONS[i : i + 1]))
        torch.testing.assert_close(one, whole[i : i + 1])


def test_labels_are_told_as_ranks():
    made = LabelConditioner.of(LABELS, CAPTIONS)
    assert made == LabelConditioner((4, 7, 9)) and made.options() == {"num_classes": 3}
    assert made(LABELS, CAPTIONS).label.tolist() == [2, 0, 0, 1, 2, 0]
    assert made(LABELS, CAPTIONS, DROPPED).label.tolist() == [3, 0, 3, 1, 2, 0]
    words = LabelConditioner.of(np.array(["cat", "ant", "cat"], object), [])
    assert words.classes == ("ant", "cat")
    assert words(np.array(["cat", "ant"], object), []).label.tolist() == [1, 0]


@pytest.mark.parametrize("label", [3, 5, 10])
def test_a_label_that_nobody_was_trained_with_is_refused(label):
    with refused(f"wanted one of the 3 classes of the training data, got {label}"):
        LabelConditioner((4, 7, 9))(np.array([4, label, 9]), [])


def test_captions_are_told_as_words():
    made = WordConditioner.of(LABELS, CAPTIONS)
    assert made.words == ("a", "blue", "fox", "red", "sky") and made.options() == {"text_dim": 5}
    told = made(LABELS, CAPTIONS, DROPPED)
    read = [
        [made.words[word] for word in text[mask].argmax(1)] if text.any() else []
        for text, mask in zip(told.text, told.text_mask, strict=True)
    ]
    assert read == [[], ["blue", "sky"], [], ["a", "fox"], [], ["red"]]
    assert told.label is None and made(LABELS, CAPTIONS).text.sum() == 3 + 2 + 2 + 2 + 1


# Tables of captions.


def test_captions_are_told_from_their_table():
    told = EXAMPLES["table"](LABELS, CAPTIONS, DROPPED)
    assert told.label is None and told.text.dtype == torch.float32
    for i, (caption, dropped) in enumerate(zip(CAPTIONS, DROPPED, strict=True)):
        got = told.text[i, told.text_mask[i]]
        if dropped or not caption:
            assert got.tolist() == [[0, 0, 0]]
        else:
            row = TABLE.captions.index(caption)
            assert got.tolist() == TABLE.text[row, TABLE.mask[row]].tolist()


def test_a_prompter_of_a_table_is_noted_without_it():
    noted = to_metadata(EXAMPLES["table"])
    assert noted == {"name": "table", "text": "sentence", "dim": 3, "digest": "d0"}
    assert from_metadata(noted, TABLE).captions is TABLE
    assert from_metadata(noted, table(seed=1)) == EXAMPLES["table"]  # the digest alone is compared
    with refused("wanted the tokens of 'sentence' that these weights were trained with, got no"):
        from_metadata(noted)
    for other in (table(digest="d1"), table(encoder="clip_tokens")):
        with refused("wanted the table of 'sentence' that these weights .* .d0., got d"):
            from_metadata(noted, other)


def test_the_prompter_of_a_condition():
    assert (
        conditioners.make("none", TRAIN) is None
        and conditioners.make("none", TRAIN, TABLE) is None
    )
    assert conditioners.make("label", TRAIN, TABLE) == LabelConditioner((4, 7, 9))
    assert conditioners.make("text", TRAIN) == WordConditioner.of(LABELS, CAPTIONS)
    assert conditioners.make("text", TRAIN, TABLE) == EXAMPLES["table"]
    assert conditioners.make("text", TRAIN, TABLE).captions is TABLE
    with refused("caption 'red' is not in the table of 4 captions that 'sentence' has encoded"):
        conditioners.make("text", TRAIN, table(captions=CAPTIONS[:-1]))


def made_table(folder, captions, text=TABLE.text, name="sentence"):
    arrays, rows = {"text": text, "mask": TABLE.mask}, pd.DataFrame({"caption": captions})
    tokens = artifact(
        "text_embeddings",
        folder / "t.safetensors",
        arrays,
        text_encoder={"name": name, "batch_size": 2},
    )
    return {
        "tokens": [tokens],
        "captions": [artifact("text_embeddings", folder / "c.parquet", rows)],
    }


def test_the_table_of_a_job(tmp_path):
    assert conditioners.read_caption_table(Job("experts", {}, {}, {})) is None
    files = made_table(tmp_path / "a", TABLE.captions)
    found = conditioners.read_caption_table(Job("experts", files, {}, {}))
    assert found.captions == TABLE.captions and found.encoder == "sentence"
    assert np.array_equal(found.text, TABLE.text) and np.array_equal(found.mask, TABLE.mask)
    assert not found.text.flags.writeable and not found.text.flags.owndata  # mapped
    digests = {found.digest}
    again = made_table(tmp_path / "b", TABLE.captions, name="other")
    assert (
        conditioners.read_caption_table(Job("experts", again, {}, {})).digest in digests
    )  # of the data
    others = (TABLE.captions[::-1], TABLE.text), (TABLE.captions, TABLE.text + np.float16(1))
    for i, (captions, text) in enumerate(others):
        files = made_table(tmp_path / str(i), captions, text)
        digests.add(conditioners.read_caption_table(Job("experts", files, {}, {})).digest)
    assert len(digests) == 3


def test_the_two_files_are_of_one_table(tmp_path):
    files = made_table(tmp_path, ["one"])
    with refused("wanted one row of tokens for each of 1 captions, 1 of them distinct, got 5"):
        conditioners.read_caption_table(Job("experts", files, {}, {}))


def test_a_network_learns_what_sentences_say(tmp_path):
    """Images are all dark or all bright, as their captions say: the velocity follows them."""
    said = ["a night without a moon", "snow in bright sunlight"]
    index = pd.DataFrame({"label": 0, "caption": said})
    spec = {"text_encoder": {"name": "sentence"}}
    files = run(
        "text_embeddings", tmp_path, spec, index=artifact("data", tmp_path / "i.parquet", index)
    )
    inputs = {name: [path] for name, path in files.items()}
    captions = conditioners.read_caption_table(Job("experts", inputs, {}, {}))
    conditioner = conditioners.make("text", index, captions)
    assert conditioner.options() == {"text_dim": 384} and captions.encoder == "sentence"
    assert artifacts.read_table(files["captions"])["caption"].tolist() == captions.captions

    told = network(conditioner)
    net = told.net.train().requires_grad_(True)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    rng, draw = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def batch(num):
        which = draw.integers(2, size=num)
        x0 = torch.from_numpy(2.0 * which - 1).float()[:, None, None, None].expand(num, 1, 4, 4)
        eps, t = torch.randn(num, 1, 4, 4, generator=rng), torch.ones(num)  # noise alone
        return which, paths.add_noise(x0, eps, t), t, paths.velocity(x0, eps)

    def loss(which, x, t, v, is_dropped=None):
        condition = conditioner(0 * which, [said[i] for i in which], is_dropped)
        return (told(x, t, condition) - v).square().mean()

    for _ in range(200):
        which, *rest = batch(32)
        optimizer.zero_grad()
        loss(which, *rest, draw.random(32) < 0.2).backward()
        optimizer.step()
    net.eval().requires_grad_(False)
    which, x, t, v = batch(128)
    right, wrong, untold = (
        loss(which, x, t, v).item(),
        loss(1 - which, x, t, v).item(),
        loss(which, x, t, v, np.ones(128, bool)).item(),
    )
    assert right < 0.2 and abs(untold - 1) < 0.3 and abs(wrong - 4) < 1
    # What it has never been told is understood by its meaning, where the table has it.
    unseen = ["a dark night", "sunlight on bright snow"]
    text, mask = text_encoders.Sentence().load()(unseen)
    more = CaptionTable(unseen, text.numpy().astype(np.float16), mask.numpy(), "sentence", "more")
    conditioner = CaptionTableConditioner.of(more)
    said = unseen
    assert loss(which, x, t, v).item() < 0.6 < loss(1 - which, x, t, v).item()
