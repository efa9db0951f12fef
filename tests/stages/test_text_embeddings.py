"""The stage text_embeddings: each caption once, the longest first."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from stages import content, make, refused, run

from routing.pretrained import text_encoders
from routing.workflow import artifacts, choices

ASKED = []  # the batches of the last encoder


class Letters:
    """A key for each letter, up to six; two features: its place in the alphabet, and 1."""

    dim, num_pieces, sha256, device = 2, 6, "abc", torch.device("cpu")

    def lengths(self, captions):
        return np.array([len(caption) for caption in captions])

    def __call__(self, captions):
        ASKED.append(list(captions))
        num = [min(6, len(caption)) for caption in captions]
        mask = torch.arange(max(num))[None] < torch.tensor(num)[:, None]
        text = torch.zeros(*mask.shape, 2)
        for i, caption in enumerate(captions):
            for j, letter in enumerate(caption[:6]):
                text[i, j] = torch.tensor([float("inf") if letter == "!" else ord(letter), 1.0])
        return text, mask


@dataclass(frozen=True)
class LetterText:
    """Letters."""

    batch_size: int = 2
    is_precomputed: ClassVar[bool] = True

    def load(self):
        ASKED.clear()
        return Letters()


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    monkeypatch.setitem(text_encoders.TEXT_ENCODERS, "letters", LetterText)


def captions(to, of, **options):
    index = pd.DataFrame({"sample_id": range(len(of)), "caption": of, "label": 0})
    made = make("data", to / "i.parquet", index, licence=["CC0"])
    return run("text_embeddings", to, {"text_encoder": {"name": "letters"} | options}, index=made)


FOUND = ["bb", "abc", "", "dd", "bb", "abcdefgh", " ", "abc", "a b", "abcdef", "x"]
ORDER = ["abcdefgh", "abcdef", "a b", "abc", "bb", "dd", "x"]


def test_every_caption_stands_once_the_longest_first(tmp_path):
    files = captions(tmp_path, FOUND)
    assert artifacts.read_table(files["captions"])["caption"].tolist() == ORDER
    assert [ORDER[0:2], ORDER[2:4], ORDER[4:6], ORDER[6:]] == ASKED
    found = artifacts.read_arrays(files["tokens"])
    text, mask = found["text"], found["mask"]
    assert text.dtype == np.float16 and text.shape == (7, 6, 2) and mask.dtype == bool
    assert mask.sum(1).tolist() == [6, 6, 3, 3, 2, 2, 1] and not text[~mask].any()
    for row, some, caption in zip(text, mask, ORDER, strict=True):
        assert row[some].tolist() == [[ord(letter), 1] for letter in caption[:6]]
    note = artifacts.read_provenance(files["tokens"])
    assert note["text_encoder"] == {"name": "letters", "batch_size": 2}
    assert (note["dim"], note["sha256"], note["num_cut"]) == (2, "abc", 1)
    assert note["licence"] == ["CC0"] and note["device"] == "cpu"


def test_the_table_is_of_the_captions_alone(tmp_path):
    one = captions(tmp_path / "a", FOUND)
    for i, (of, options) in enumerate([(FOUND[::-1] * 2, {}), (FOUND, {"batch_size": 5})]):
        other = captions(tmp_path / str(i), of, **options)
        assert all(content(one[name]) == content(other[name]) for name in one)
    other = captions(tmp_path / "c", FOUND[1:])  # bb is still there
    assert content(one["captions"]) == content(other["captions"])
    other = captions(tmp_path / "d", FOUND[:-1])  # x is not
    assert content(one["captions"]) != content(other["captions"])


def test_ties_are_by_the_alphabet(tmp_path):
    of = [f"{i:0{3 + i % 2}d}" for i in range(200)]
    files = captions(tmp_path, of, batch_size=200)
    found = artifacts.read_table(files["captions"])["caption"].tolist()
    assert found == [*sorted(of[1::2]), *sorted(of[::2])]


def test_what_has_no_table_is_refused(tmp_path):
    with refused("text_encoder: wanted captions in the data, got empty ones alone"):
        captions(tmp_path, ["", "  ", "\t"])
    with refused("text_encoder: wanted one with a table of tokens, got 'words'"):
        captions(tmp_path, FOUND, name="words")
    with refused("float16 can hold, got others for 'cc' or the captions after it"):
        captions(tmp_path, ["cc", "d!", "bbb", "ccc"])
    with refused(
        "text_encoder.folder: wanted a folder on this machine or an id of the manifest, got"
    ):
        captions(tmp_path, FOUND, name="clip_tokens", folder="/nowhere")
    assert not (tmp_path / "tokens.safetensors").exists()


def test_sentences_of_real_captions(tmp_path):
    of = ["a red apple", "the night sky", "a red apple", ""]
    files = captions(tmp_path, of, name="sentence")
    found = artifacts.read_arrays(files["tokens"])
    assert artifacts.read_table(files["captions"])["caption"].tolist() == sorted(set(of) - {""})
    expected = text_encoders.Sentence().load()(["a red apple", "the night sky"])[0].numpy()
    np.testing.assert_allclose(found["text"], expected, atol=1e-4)
    assert found["mask"].all() and found["mask"].shape == (2, 1)
    resolved = choices.resolve(text_encoders.TEXT_ENCODERS, "sentence", "text_encoder")
    assert artifacts.read_provenance(files["tokens"])["text_encoder"] == resolved
