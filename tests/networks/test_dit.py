import dataclasses
import itertools
import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from routing.networks.dit import MODULATIONS, Architecture, Attention, DiT, flop_per_sample
from routing.networks.embeddings import grid_sinusoid, patchify, sinusoid, unpatchify

TINY = Architecture(
    image_size=6, channels=3, patch_size=2, width=16, depth=2, num_heads=4, mlp_ratio=2.5
)
CONDITIONS = ({}, {"num_classes": 5}, {"text_dim": 7}, {"num_classes": 5, "text_dim": 7})
ARCHITECTURES = [
    dataclasses.replace(TINY, modulation=modulation, num_logits=num_logits, **condition)
    for modulation in ("adaln", "adaln_single")
    for num_logits in (None, 8)
    for condition in CONDITIONS
]
EXPERT, ROUTER = (  # Paris: DiT-XL/2 and DiT-B/2 on latents
    Architecture(32, 4, 2, 1152, 28, 16, modulation="adaln_single", text_dim=768),
    Architecture(32, 4, 2, 768, 12, 12, modulation="adaln", num_logits=8),
)


def name_of(a):
    parts = [a.modulation, "logits" if a.num_logits else "velocity"]
    return "-".join(parts + [n for n in ("num_classes", "text_dim") if getattr(a, n)])


each = pytest.mark.parametrize("a", ARCHITECTURES, ids=name_of)


def randomised(a, rng, dtype=torch.float64):
    """A network none of whose parameters is at its special first value."""
    net = DiT(a).to(dtype)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=rng, dtype=dtype))
    return net


def inputs(a, rng, batch=4, keys=5, dtype=torch.float64):
    """The arguments of forward, by name."""
    size = (batch, a.channels, a.image_size, a.image_size)
    given = {
        "x": torch.randn(size, generator=rng, dtype=dtype),
        "t": torch.rand(batch, generator=rng, dtype=dtype),
    }
    if a.num_classes:
        given["label"] = torch.randint(a.num_classes + 1, (batch,), generator=rng)
    if a.text_dim:
        given["text"] = torch.randn(batch, keys, a.text_dim, generator=rng, dtype=dtype)
        given["text_mask"] = torch.rand(batch, keys, generator=rng) < 0.6
        given["text_mask"][:, 0] = True
    return given


def all_rows_differ(y, other):
    return ((y - other).flatten(1).norm(dim=1) > 1e-4 * y.flatten(1).norm(dim=1)).all()


def reference(net, x, t, label=None, text=None, text_mask=None):
    """The published networks, spelled out from the published parameter names."""
    a, w = net.architecture, net.state_dict()

    def linear(name, y):
        return torch.einsum("oi,...i->...o", w[f"{name}.weight"], y) + w[f"{name}.bias"]

    def gelu(y):
        return 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))

    def norm(y):
        mean = y.mean(-1, keepdim=True)
        return (y - mean) / ((y - mean).square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def attention(name, y, context, mask=None):
        size = a.width // a.num_heads
        weight = w[f"{name}.in_proj_weight"].unflatten(0, (3, a.num_heads, size))
        bias = w[f"{name}.in_proj_bias"].unflatten(0, (3, 1, a.num_heads, size))
        q = torch.einsum("hdi,bni->bnhd", weight[0], y) + bias[0]
        k = torch.einsum("hdi,bni->bnhd", weight[1], context) + bias[1]
        v = torch.einsum("hdi,bni->bnhd", weight[2], context) + bias[2]
        score = torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(size)
        if mask is not None:
            score = score.masked_fill(~mask[:, None, None], -torch.inf)
        y = torch.einsum("bhnm,bmhd->bnhd", score.softmax(-1), v).flatten(2)
        return linear(f"{name}.out_proj", y)

    def vectors(name, num, shared):
        if a.modulation == "adaln":
            made = linear(f"{name}.adaLN_modulation.1", F.silu(c)).unflatten(1, (num, a.width))
        else:
            made = w[f"{name}.scale_shift_table"] + shared
        return [made[:, None, j] for j in range(num)]

    c = linear("time_embed.mlp.2", F.silu(linear("time_embed.mlp.0", sinusoid(1000 * t, 256))))
    if label is not None:
        c = c + w["label_embed.weight"][label]
    if text is not None:
        text = linear("text_proj", text)
    six = None
    if a.modulation == "adaln_single":
        six = linear("t_block.1", F.silu(c)).unflatten(1, (6, a.width))
    z = F.conv2d(x, w["patch_embed.weight"], w["patch_embed.bias"], stride=a.patch_size)
    z = z.flatten(2).transpose(1, 2) + w["pos_embed"]
    if a.num_logits:
        z = torch.cat([w["cls_token"].expand(len(z), 1, -1), z], 1)
    for i in range(a.depth):
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = vectors(f"layers.{i}", 6, six)
        y = norm(z) * (1 + scale_1) + shift_1
        z = z + gate_1 * attention(f"layers.{i}.attn", y, y)
        if text is not None:
            z = z + attention(f"layers.{i}.cross_attn", z, text, text_mask)
        y = norm(z) * (1 + scale_2) + shift_2
        z = z + gate_2 * linear(f"layers.{i}.mlp.2", gelu(linear(f"layers.{i}.mlp.0", y)))
    if a.num_logits:
        y = norm(gelu(linear("head.0", z[:, 0]))) * w["head.2.weight"] + w["head.2.bias"]
        return linear("head.4", gelu(y))
    shift, scale = vectors("final_layer", 2, c[:, None])
    y, p = linear("final_layer.linear", norm(z) * (1 + scale) + shift), a.patch_size
    side = a.image_size // p
    y = torch.einsum("nhwpqc->nchpwq", y.reshape(-1, side, side, p, p, a.channels))
    return y.reshape(x.shape)


def closed_form_flop(a, keys):
    d, num_patches = a.width, (a.image_size // a.patch_size) ** 2
    values, n = a.channels * a.patch_size**2, num_patches + bool(a.num_logits)
    macs = num_patches * values * d + 256 * d + d * d  # patches, time
    macs += 6 * d * d * (a.depth if a.modulation == "adaln" else 1)
    macs += a.depth * (4 * n * d * d + 2 * n * n * d + 2 * n * d * int(d * a.mlp_ratio))
    if a.text_dim:
        macs += keys * a.text_dim * d
        macs += a.depth * (2 * n * d * d + 2 * keys * d * d + 2 * n * keys * d)
    if a.num_logits:
        macs += d * d + d * a.num_logits
    else:
        macs += (2 * d * d if a.modulation == "adaln" else 0) + n * d * values
    return 2 * macs


def test_every_modulation_is_tested():
    assert {a.modulation for a in ARCHITECTURES} == set(MODULATIONS)


@pytest.mark.parametrize(
    ("a", "num"), [(EXPERT, 605_970_448), (ROUTER, 129_136_904)], ids=["expert", "router"]
)
def test_published_parameter_counts(a, num):
    with torch.device("meta"):
        net = DiT(a)
    assert sum(p.numel() for p in net.parameters()) == num
    assert not list(net.buffers())


def test_published_parameter_names():
    attention = {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}
    linear = {"weight", "bias"}

    def keys(tree):
        return {f"{name}.{leaf}" for name, leaves in tree.items() for leaf in leaves}

    both = keys({"patch_embed": linear, "time_embed.mlp.0": linear, "time_embed.mlp.2": linear})
    expert, router = both | {"pos_embed"}, both | {"pos_embed", "cls_token"}
    expert |= keys({"text_proj": linear, "t_block.1": linear, "final_layer.linear": linear})
    expert |= {"final_layer.scale_shift_table"}
    router |= keys({"head.0": linear, "head.2": linear, "head.4": linear})
    for i in range(2):
        block = {"attn": attention, "mlp.0": linear, "mlp.2": linear}
        expert |= keys({f"layers.{i}.{n}": v for n, v in block.items()})
        expert |= keys({f"layers.{i}.cross_attn": attention}) | {f"layers.{i}.scale_shift_table"}
        router |= keys({f"layers.{i}.{n}": v for n, v in block.items()})
        router |= keys({f"layers.{i}.adaLN_modulation.1": linear})
    with torch.device("meta"):
        nets = [DiT(dataclasses.replace(a, depth=2)) for a in (EXPERT, ROUTER)]
    assert set(nets[0].state_dict()) == expert
    assert set(nets[1].state_dict()) == router
    assert nets[0].pos_embed.shape == (1, 256, 1152) and nets[1].cls_token.shape == (1, 1, 768)


@each
def test_equals_the_slow_reference(a, rng):
    net, given = randomised(a, rng), inputs(a, rng)
    with torch.no_grad():
        torch.testing.assert_close(net(**given), reference(net, **given), rtol=1e-9, atol=1e-9)


ALIVE = ("patch_embed.weight", "time_embed.mlp.0.weight", "layers.0.attn.in_proj_weight")


@each
def test_starts_at_zero_as_the_identity(a, rng):
    torch.manual_seed(0)
    net = DiT(a)
    given = inputs(a, rng, dtype=torch.float32)
    assert net(**given).eq(0).all()
    z, text = torch.randn(4, 9, 16, generator=rng), torch.randn(4, 5, 16, generator=rng)
    num = 1 if a.modulation == "adaln" else 6
    c = net.t_block(z[:, :1]).view(4, 6, 16) if num == 6 else z[:, :1]
    assert torch.equal(net.layers[0](z, c, text), z)
    assert torch.equal(net.pos_embed[0], grid_sinusoid(3, 16))
    assert all(p.std() > 0 for n, p in net.named_parameters() if n in ALIVE)


def test_first_weights_follow_the_seed():
    nets = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        nets.append(DiT(ARCHITECTURES[-1]).state_dict())
    assert all(torch.equal(nets[0][n], nets[1][n]) for n in nets[0])
    assert not torch.equal(nets[0]["patch_embed.weight"], nets[2]["patch_embed.weight"])


def test_attention_is_torchs(rng):
    ours, theirs = Attention(16, 4).double(), nn.MultiheadAttention(16, 4, batch_first=True)
    theirs = theirs.double()
    with torch.no_grad():
        theirs.in_proj_bias.normal_(generator=rng)
    ours.load_state_dict(theirs.state_dict())
    z, text = (torch.randn(3, n, 16, generator=rng, dtype=torch.float64) for n in (9, 5))
    mask = torch.tensor([[1, 0, 1, 1, 0]]).bool().expand(3, -1)
    torch.testing.assert_close(ours(z), theirs(z, z, z)[0])
    theirs_masked = theirs(z, text, text, key_padding_mask=~mask)[0]
    torch.testing.assert_close(ours(z, text, mask), theirs_masked)


def test_patches_by_hand(rng):
    p, side, channels = 2, 3, 2
    image = torch.randn(2, channels, side * p, side * p, generator=rng)
    cut, whole = patchify(image, p), unpatchify(values := image.reshape(2, side * side, -1), p)
    assert cut.shape == values.shape and whole.shape == image.shape
    for b, c, i, j in itertools.product(range(2), range(channels), range(6), range(6)):
        token = (i // p) * side + j // p
        assert cut[b, token, (c * p + i % p) * p + j % p] == image[b, c, i, j]
        assert values[b, token, ((i % p) * p + j % p) * channels + c] == whole[b, c, i, j]


def test_patches_are_cut_where_they_are_put_back(rng):
    # Only tokens carry x: with the identity for embedding and final map, patches come back whole.
    a = dataclasses.replace(TINY, width=12, num_heads=1)
    net = DiT(a)
    with torch.no_grad():
        net.pos_embed.zero_()
        net.patch_embed.weight.zero_()
        net.final_layer.linear.weight.copy_(torch.eye(12))
        for j, (row, column, channel) in enumerate(
            itertools.product(range(2), range(2), range(3))
        ):
            net.patch_embed.weight[j, channel, row, column] = 1
        x = torch.randn(2, 3, 6, 6, generator=rng)
        patches = x.unflatten(3, (3, 2)).unflatten(2, (3, 2))
        mean = patches.mean((1, 3, 5), keepdim=True)
        std = (patches.var((1, 3, 5), keepdim=True, unbiased=False) + 1e-5).sqrt()
        wanted = ((patches - mean) / std).flatten(4).flatten(2, 3)
        torch.testing.assert_close(net(x, torch.rand(2, generator=rng)), wanted)


def test_sinusoid_closed_form():
    t = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    ours = sinusoid(1000 * t, 256)
    for row, time in enumerate((0, 250, 1000)):
        for i in (0, 1, 64, 127):
            frequency = 10000 ** (-i / 128)
            assert ours[row, i].item() == pytest.approx(math.cos(time * frequency), abs=1e-9)
            assert ours[row, 128 + i].item() == pytest.approx(math.sin(time * frequency), abs=1e-9)


def test_positions_closed_form():
    ours = grid_sinusoid(3, 8).double()
    for row, column in itertools.product(range(3), range(3)):
        wanted = [
            f(place * frequency)
            for place in (column, row)
            for f in (math.sin, math.cos)
            for frequency in (1, 0.01)
        ]
        assert ours[3 * row + column].tolist() == pytest.approx(wanted, abs=1e-6)


@each
def test_time_and_label_matter(a, rng):
    net, given = randomised(a, rng), inputs(a, rng)
    with torch.no_grad():
        here = net(**given)
        assert all_rows_differ(here, net(**given | {"t": given["t"] + 1e-3}))
        if a.num_classes:
            null = torch.full_like(given["label"], a.num_classes)
            given["label"] = null - 1
            assert all_rows_differ(net(**given), net(**given | {"label": null}))


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("modulation", MODULATIONS)
def test_masked_text_is_not_read(modulation, backend, rng):
    a = dataclasses.replace(TINY, modulation=modulation, text_dim=7)
    net, given = randomised(a, rng), inputs(a, rng)
    given["text_mask"] = (torch.arange(5) < 3).expand(4, 5)
    other = given["text"].clone()
    other[:, 3:] = torch.randn(4, 2, 7, generator=rng, dtype=torch.float64)
    with torch.no_grad(), sdpa_kernel(backend):
        masked = net(**given)
        assert torch.equal(net(**given | {"text": other}), masked)
        cut = given | {"text": given["text"][:, :3], "text_mask": None}
        torch.testing.assert_close(net(**cut), masked)
        assert all_rows_differ(net(**given | {"text_mask": None}), masked)


def test_text_has_no_order(rng):
    net, given = randomised(ARCHITECTURES[2], rng), inputs(ARCHITECTURES[2], rng)
    order = torch.tensor([3, 0, 4, 1, 2])
    other = {n: given[n][:, order] for n in ("text", "text_mask")}
    with torch.no_grad():
        torch.testing.assert_close(net(**given | other), net(**given))


def test_tokens_have_an_order_only_by_position(rng):
    a = dataclasses.replace(TINY, image_size=4)
    net, given = randomised(a, rng), inputs(a, rng)

    def swapped(x):  # the upper patches below, the lower ones above
        return x.roll(2, dims=2)

    def gap():
        there = net(**given | {"x": swapped(given["x"])})
        return (there - swapped(net(**given))).abs().max()

    with torch.no_grad():
        assert gap() > 1e-3
        net.pos_embed.zero_()
        assert gap() < 1e-12


@each
def test_rows_do_not_see_each_other(a, rng):
    net = randomised(a, rng, torch.float32)
    given = inputs(a, rng, batch=16, dtype=torch.float32)
    with torch.no_grad():
        alone = [net(**{n: y[i : i + 1] for n, y in given.items()}) for i in range(16)]
        together = net(**given)
        assert net(**{n: y[:0] for n, y in given.items()}).shape == (0, *together.shape[1:])
        assert (together - torch.cat(alone)).abs().max() < 1e-5 * together.abs().max()


@each
def test_learns_one_batch_with_every_parameter(a, rng):
    torch.manual_seed(0)
    net, given = DiT(a), inputs(a, rng, dtype=torch.float32)
    wanted = torch.randn(net(**given).shape, generator=rng)
    optimizer, losses = torch.optim.Adam(net.parameters(), lr=1e-2), []
    for step in range(60):
        loss = (net(**given) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        losses.append(loss.item())
        if step == 3:  # the zeros open one after another: output, gates, then all behind them
            idle = [n for n, p in net.named_parameters() if not p.grad.any()]
            assert not idle, idle
        optimizer.step()
    assert losses[-1] < 0.1 * losses[0]


@each
def test_weights_and_options_round_trip(a, rng):
    net, given = randomised(a, rng), inputs(a, rng)
    options = json.loads(json.dumps(dataclasses.asdict(a)))
    other = DiT(Architecture(**options)).double()
    other.load_state_dict(net.state_dict(), strict=True)
    assert other.architecture == a
    with torch.no_grad():
        assert torch.equal(other(**given), net(**given))


@pytest.mark.parametrize("num_logits", [None, 8])
@pytest.mark.parametrize("modulation", MODULATIONS)
def test_jacobian_forward_and_backward(modulation, num_logits, rng):
    a = dataclasses.replace(TINY, modulation=modulation, num_logits=num_logits, num_classes=5)
    net, given = randomised(a, rng), inputs(a, rng, batch=2)
    x, t, label = given["x"], given["t"], given["label"]
    along = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        value, slope = torch.func.jvp(lambda y: net(y, t, label), (x,), (along,))
        torch.testing.assert_close(value, net(x, t, label))
        step = 1e-5
        ahead, behind = net(x + step * along, t, label), net(x - step * along, t, label)
        torch.testing.assert_close(slope, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-5)
    probe = torch.randn(value.shape, generator=rng, dtype=torch.float64)
    (pulled,) = torch.func.vjp(lambda y: net(y, t, label), x)[1](probe)
    torch.testing.assert_close((pulled * along).sum(), (probe * slope).sum())


def test_half_precision_keeps_the_time(rng):
    # In bfloat16 the times 0.5 and 0.501 are one; the sinusoid is that of the float32 time.
    net = randomised(TINY, rng, torch.float32)
    x, t = torch.randn(2, 3, 6, 6, generator=rng), torch.tensor([0.5, 0.501])
    with torch.no_grad():
        full, half = net(x, t), net.bfloat16()(x.bfloat16(), t)
        assert half.dtype == torch.bfloat16
        assert (half - full).norm() < 0.05 * full.norm()


@each
def test_flop_closed_form(a):
    keys = 5 if a.text_dim else 0
    assert flop_per_sample(DiT(a), keys) == closed_form_flop(a, keys)


def test_flop_on_meta_and_inputs():
    with torch.device("meta"):
        expert, router = DiT(EXPERT), DiT(ROUTER)
    assert flop_per_sample(expert, 77) == closed_form_flop(EXPERT, 77)
    assert flop_per_sample(router) == closed_form_flop(ROUTER, 0)
    with pytest.raises(ValueError, match="^num_text_tokens must be 1 or more here, got 0$"):
        flop_per_sample(expert)
    with pytest.raises(ValueError, match="^num_text_tokens must be 0 here, got 77$"):
        flop_per_sample(router, 77)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"width": 0}, "width must be positive, got 0"),
        ({"depth": -1}, "depth must be positive, got -1"),
        ({"num_classes": 0}, "num_classes must be positive, got 0"),
        ({"mlp_ratio": 0.0}, "mlp_ratio must be positive, got 0.0"),
        ({"modulation": "film"}, "modulation must be one of adaln, adaln_single, got 'film'"),
        ({"patch_size": 4}, "patch_size must divide image_size=6, got 4"),
        ({"num_heads": 5}, "num_heads must divide width=16, got 5"),
        (
            {"width": 18, "num_heads": 2},
            "width must be a multiple of 4 (positions in two directions), got 18",
        ),
    ],
)
def test_refuses_options(options, line):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(TINY, **options)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("condition", "change", "line"),
    [
        ({}, {"x": (4, 3, 8, 8)}, "x must be (batch, 3, 6, 6), got (4, 3, 8, 8)"),
        ({}, {"x": (4, 1, 6, 6)}, "x must be (batch, 3, 6, 6), got (4, 1, 6, 6)"),
        ({}, {"label": [0, 1, 2, 3]}, "leave out label: this network has num_classes=None"),
        ({}, {"text": (4, 5, 7)}, "leave out text: this network has text_dim=None"),
        ({}, {"text_mask": True}, "leave out text_mask: this network has text_dim=None"),
        ({"num_classes": 5}, {"label": None}, "give label: this network has num_classes=5"),
        ({"text_dim": 7}, {"text": None}, "give text: this network has text_dim=7"),
        ({"text_dim": 7}, {"text": (4, 5, 6)}, "text must have text_dim=7 features, got 6"),
        (
            {"num_classes": 5},
            {"label": [0, 1, 6, 5]},
            "label must be in 0..5 (5: null class), got 0..6",
        ),
        (
            {"num_classes": 5},
            {"label": [0, -1, 4, 5]},
            "label must be in 0..5 (5: null class), got -1..5",
        ),
    ],
)
def test_refuses_inputs(condition, change, line, rng):
    a = dataclasses.replace(TINY, **condition)
    given = inputs(a, rng, dtype=torch.float32)
    for name, value in change.items():
        if isinstance(value, tuple):
            value = torch.randn(value, generator=rng)
        elif isinstance(value, list):
            value = torch.tensor(value)
        elif value is True:
            value = torch.ones(4, 5, dtype=torch.bool)
        given[name] = value
    with pytest.raises(ValueError) as error:
        DiT(a)(**given)
    assert str(error.value) == line
