"""Tokens of captions: one-hot words, and rows of a table."""

import numpy as np
import pytest
import torch

from routing.data.caption_tokens import CaptionTable, Vocabulary


def test_words_of_captions():
    vocabulary = Vocabulary.of(["The cat", "a  DOG\tthe cat.", "", "a"])
    assert vocabulary.words == ("a", "cat", "cat.", "dog", "the")
    text, mask = vocabulary(["the Cat sat A", "", "bird", "dog a"])
    got = [[(row.nonzero()[:, 0].tolist(), row.sum().item()) for row in rows] for rows in text]
    o = ([], 0)
    assert got == [
        [([4], 1), ([1], 1), o, ([0], 1)],
        [o, o, o, o],
        [o, o, o, o],
        [([3], 1), ([0], 1), o, o],
    ]
    expected = [[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert mask.int().tolist() == expected
    text, mask = vocabulary(["", ""])
    assert text.shape == (2, 1, 5) and mask.all() and not text.any()
    assert text.dtype == torch.float32


@pytest.mark.parametrize(
    ("words", "got"),
    [((), "got 0, 0 of them distinct"), (("a", "b", "a"), "got 3, 2 of them"), (("A",), "'A'")]
    + [(("a b",), "'a b'"), (("",), "''")],
)
def test_invalid_vocabularies_raise(words, got):
    with pytest.raises(ValueError, match=got) as error:
        Vocabulary(words)
    assert "\n" not in str(error.value)


KNOWN = ["a red fox", "sky", "Sky", "a fox in the sky"]


def known(lengths=(3, 1, 2, 4), captions=KNOWN):
    """Row i has `lengths[i]` tokens (i + 1, j + 1), and zeros behind them."""
    i, j = np.indices((len(lengths), 4))
    mask = j < np.array(lengths)[:, None]
    text = np.stack([i + 1, j + 1], -1) * mask[..., None]
    return CaptionTable(captions, text.astype(np.float16), mask, "sentence", "d")


def test_captions_are_looked_up():
    table = known()
    assert table.dim == 2
    text, mask = table(["Sky", "", "a red fox", " \t", "Sky"])
    assert text.dtype == torch.float32 and text.shape == (5, 3, 2)
    assert mask.int().tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0]]
    sky, fox, o = [[3, 1], [3, 2], [0, 0]], [[1, 1], [1, 2], [1, 3]], [[0, 0]] * 3
    assert text.tolist() == [sky, o, fox, o, sky]
    assert table(["a fox in the sky"])[1].tolist() == [[True] * 4]
    for captions in (["", ""], [""]):
        text, mask = table(captions)
        assert text.shape == (len(captions), 1, 2) and not text.any() and mask.all()
    text, mask = table([])
    assert text.shape == (0, 1, 2) and mask.shape == (0, 1)
    assert table.text.any() and table(["sky"])[0].tolist() == [[[2, 1]]]  # nothing was written


def test_memory_mapped_tokens_are_read(tmp_path):
    table = known()
    path = tmp_path / "text.bin"
    table.text.tofile(path)
    mapped = np.memmap(path, np.float16, "r", shape=table.text.shape)
    same = CaptionTable(KNOWN, mapped, table.mask, "sentence", "d")
    for a, b in zip(same(KNOWN[::-1]), table(KNOWN[::-1]), strict=True):
        assert torch.equal(a, b)


def test_the_null_text_is_in_no_table():
    assert not known(captions=["a", " ", "b", ""])([" ", ""])[0].any()


def test_a_caption_that_is_not_in_the_table_raises():
    table = known()
    for call in (table, table.check_contains):
        with pytest.raises(ValueError, match="caption 'SKY' is not in the table of 4 captions"):
            call(["sky", "SKY"])
    table.check_contains([*KNOWN, "", " "])
    with pytest.raises(ValueError, match="run the stage text_embeddings") as error:
        table(["x\ny" * 999])
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("captions", "got"),
    [(KNOWN[:3], "3 captions, 3 of them distinct, got 4"), (["a", "b", "b", "c"], "3 of them d")],
)
def test_a_table_has_a_row_for_each_caption(captions, got):
    with pytest.raises(ValueError, match=got) as error:
        known(captions=captions)
    assert "\n" not in str(error.value)
