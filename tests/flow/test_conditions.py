import math

import jaxtyping
import numpy as np
import pytest
import torch

from routing.flow.conditions import Captions, Condition, Told, Vocabulary
from routing.networks.dit import Architecture, DiT, flop_per_sample

BATCH, CLASSES, FEATURES = 5, 3, 4


def both(rng):
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]]).bool()
    text = torch.randn(BATCH, 3, FEATURES, generator=rng)
    return Condition(torch.tensor([0, 2, 1, 3, 2]), text, mask)


def network(num_classes=CLASSES, text_dim=FEATURES, **options):
    """With weights away from their start, where every output is 0."""
    torch.manual_seed(0)
    net = DiT(
        Architecture(4, 1, 2, 8, 1, 2, num_classes=num_classes, text_dim=text_dim, **options)
    )
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval().requires_grad_(False)


def batch(rng):
    return torch.randn(BATCH, 1, 4, 4, generator=rng), torch.rand(BATCH, generator=rng)


@pytest.mark.parametrize(
    "rows",
    [
        torch.tensor([4, 0, 0]),
        torch.tensor([True, False, False, True, True]),
        torch.tensor([], dtype=torch.long),
        slice(1, 3),
    ],
    ids=["indices", "mask", "none", "slice"],
)
def test_rows_of_a_condition(rows, rng):
    condition = both(rng)
    for given in (condition, Condition(condition.label), Condition(text=condition.text)):
        some = given[rows]
        assert len(some) == len(torch.arange(BATCH)[rows])
        for name in ("label", "text", "text_mask"):
            whole, part = getattr(given, name), getattr(some, name)
            assert (whole is None) == (part is None)
            assert whole is None or torch.equal(part, whole[rows])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None, "text": None, "text_mask": None}, "a label or a text, got neither"),
        ({"text": None}, "text_mask goes with a text, got none"),
        ({"text_mask": torch.ones(BATCH, 2).bool()}, r"\(5, 3\) as the tokens, got \(5, 2\)"),
        ({"label": torch.tensor([0, 1])}, "one batch, got 2 and 5"),
    ],
)
def test_what_is_no_condition_is_refused(change, message, rng, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of tests
    with pytest.raises(ValueError, match=message) as error:
        Condition(**(vars(both(rng)) | change))
    assert "\n" not in str(error.value)


def test_a_network_is_told_all_of_the_condition(rng):
    (x, t), c, net = batch(rng), both(rng), network()
    assert torch.equal(Told(net)(x, t, c), net(x, t, c.label, c.text, c.text_mask))
    label, text = network(text_dim=None), network(num_classes=None)
    assert torch.equal(Told(label)(x, t, Condition(c.label)), label(x, t, c.label))
    got = Told(text)(x, t, Condition(text=c.text))
    assert torch.equal(got, text(x, t, text=c.text))
    assert Told(net).architecture is net.architecture
    assert flop_per_sample(Told(net).net, 3) > 0


def test_without_a_condition_a_network_speaks_its_null_branch(rng):
    (x, t), net = batch(rng), network()
    null = torch.full((BATCH,), CLASSES)
    zeros = torch.zeros(BATCH, 1, FEATURES)
    v = Told(net)(x, t)
    assert torch.equal(v, Told(net)(x, t, None))
    assert torch.equal(v, net(x, t, null, zeros, torch.ones(BATCH, 1).bool()))
    assert not torch.allclose(v, net(x, t, null - 1, zeros))
    assert not torch.allclose(v, net(x, t, null, zeros + 1))
    label = network(text_dim=None)
    assert torch.equal(Told(label)(x, t), label(x, t, null))
    plain = network(None, None)
    assert torch.equal(Told(plain)(x, t), plain(x, t))


def test_a_router_is_told_as_well(rng):
    (x, t), net = batch(rng), network(text_dim=None, num_logits=6)
    label = both(rng).label
    assert torch.equal(Told(net)(x, t, Condition(label)), net(x, t, label))


def test_nothing_is_ignored(rng):
    (x, t), c = batch(rng), both(rng)
    label, text = Condition(c.label), Condition(text=c.text, text_mask=c.text_mask)
    wrong = [
        (network(None, None), label, "leave out label"),
        (network(None, None), text, "leave out text"),
        (network(text_dim=None), c, "leave out text"),
        (network(text_dim=None), text, "give label"),
        (network(num_classes=None), label, "leave out label"),
        (network(), label, "give text"),
    ]
    for net, condition, message in wrong:
        with pytest.raises(ValueError, match=message) as error:
            Told(net)(x, t, condition)
        assert "\n" not in str(error.value)


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


def test_the_empty_caption_is_the_null_text_and_padding_is_not_read(rng):
    x, t = batch(rng)
    vocabulary = Vocabulary(("blue", "red"))
    told = Told(network(num_classes=None, text_dim=2))
    text, mask = vocabulary(["", "red", "blue red blue", "red", ""])
    v = told(x, t, Condition(text=text, text_mask=mask))
    torch.testing.assert_close(v[[0, 4]], told(x[[0, 4]], t[[0, 4]]))
    alone = Condition(None, *vocabulary(["red"]))
    torch.testing.assert_close(v[[1]], told(x[[1]], t[[1]], alone))
    assert not math.isclose(v[1].sum(), told(x, t)[1].sum(), rel_tol=1e-4)


@pytest.mark.parametrize(
    ("words", "got"),
    [((), "got 0, 0 of them distinct"), (("a", "b", "a"), "got 3, 2 of them"), (("A",), "'A'")]
    + [(("a b",), "'a b'"), (("",), "''")],
)
def test_what_is_no_vocabulary_is_refused(words, got):
    with pytest.raises(ValueError, match=got) as error:
        Vocabulary(words)
    assert "\n" not in str(error.value)


KNOWN = ["a red fox", "sky", "Sky", "a fox in the sky"]


def known(lengths=(3, 1, 2, 4), captions=KNOWN):
    """Row i has `lengths[i]` tokens (i + 1, j + 1), and zeros behind them."""
    i, j = np.indices((len(lengths), 4))
    mask = j < np.array(lengths)[:, None]
    text = np.stack([i + 1, j + 1], -1) * mask[..., None]
    return Captions(captions, text.astype(np.float16), mask, "sentence", "d")


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


def test_captions_are_read_from_where_they_lie(tmp_path):
    table = known()
    path = tmp_path / "text.bin"
    table.text.tofile(path)
    mapped = np.memmap(path, np.float16, "r", shape=table.text.shape)
    same = Captions(KNOWN, mapped, table.mask, "sentence", "d")
    for a, b in zip(same(KNOWN[::-1]), table(KNOWN[::-1]), strict=True):
        assert torch.equal(a, b)


def test_the_null_text_is_in_no_table():
    assert not known(captions=["a", " ", "b", ""])([" ", ""])[0].any()


def test_a_caption_that_no_table_has_is_refused():
    table = known()
    for call in (table, table.refuse_unknown):
        with pytest.raises(ValueError, match="caption 'SKY' is not in the table of 4 captions"):
            call(["sky", "SKY"])
    table.refuse_unknown([*KNOWN, "", " "])
    with pytest.raises(ValueError, match="run the stage captions") as error:
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
