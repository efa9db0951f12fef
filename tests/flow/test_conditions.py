import math

import jaxtyping
import pytest
import torch

from routing.data.caption_tokens import Vocabulary
from routing.flow.conditions import Condition, ConditionedNetwork
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
        ({"text": None}, "text_mask wants a text, got none"),
        ({"text_mask": torch.ones(BATCH, 2).bool()}, r"tokens, \(5, 3\), got \(5, 2\)"),
        ({"label": torch.tensor([0, 1])}, "same batch size, got 2 and 5"),
    ],
)
def test_invalid_conditions_raise(change, message, rng, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside of tests
    with pytest.raises(ValueError, match=message) as error:
        Condition(**(vars(both(rng)) | change))
    assert "\n" not in str(error.value)


def test_a_network_gets_all_parts_of_the_condition(rng):
    (x, t), c, net = batch(rng), both(rng), network()
    assert torch.equal(ConditionedNetwork(net)(x, t, c), net(x, t, c.label, c.text, c.text_mask))
    label, text = network(text_dim=None), network(num_classes=None)
    assert torch.equal(ConditionedNetwork(label)(x, t, Condition(c.label)), label(x, t, c.label))
    got = ConditionedNetwork(text)(x, t, Condition(text=c.text))
    assert torch.equal(got, text(x, t, text=c.text))
    assert ConditionedNetwork(net).architecture is net.architecture
    assert flop_per_sample(ConditionedNetwork(net).net, 3) > 0


def test_without_a_condition_a_network_returns_its_null_branch(rng):
    (x, t), net = batch(rng), network()
    null = torch.full((BATCH,), CLASSES)
    zeros = torch.zeros(BATCH, 1, FEATURES)
    v = ConditionedNetwork(net)(x, t)
    assert torch.equal(v, ConditionedNetwork(net)(x, t, None))
    assert torch.equal(v, net(x, t, null, zeros, torch.ones(BATCH, 1).bool()))
    assert not torch.allclose(v, net(x, t, null - 1, zeros))
    assert not torch.allclose(v, net(x, t, null, zeros + 1))
    label = network(text_dim=None)
    assert torch.equal(ConditionedNetwork(label)(x, t), label(x, t, null))
    plain = network(None, None)
    assert torch.equal(ConditionedNetwork(plain)(x, t), plain(x, t))


def test_a_router_gets_the_condition(rng):
    (x, t), net = batch(rng), network(text_dim=None, num_logits=6)
    label = both(rng).label
    assert torch.equal(ConditionedNetwork(net)(x, t, Condition(label)), net(x, t, label))


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
            ConditionedNetwork(net)(x, t, condition)
        assert "\n" not in str(error.value)


def test_the_empty_caption_is_the_null_text_and_padding_is_not_read(rng):
    x, t = batch(rng)
    vocabulary = Vocabulary(("blue", "red"))
    net = ConditionedNetwork(network(num_classes=None, text_dim=2))
    text, mask = vocabulary(["", "red", "blue red blue", "red", ""])
    v = net(x, t, Condition(text=text, text_mask=mask))
    torch.testing.assert_close(v[[0, 4]], net(x[[0, 4]], t[[0, 4]]))
    alone = Condition(None, *vocabulary(["red"]))
    torch.testing.assert_close(v[[1]], net(x[[1]], t[[1]], alone))
    assert not math.isclose(v[1].sum(), net(x, t)[1].sum(), rel_tol=1e-4)
