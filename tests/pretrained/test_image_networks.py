"""Pretrained networks: the published forwards written down again, and the files they come in."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from dinov2_reference import published, published_grid
from places import SHARED
from safetensors.torch import load_file, save_file
from stages import refused

from routing.pretrained import manifest
from routing.pretrained.image_networks import BACKBONES, CLIP, DINOv2, Inception, Timm
from routing.pretrained.image_networks.clip import CLIP_WEIGHTS
from routing.pretrained.image_networks.dinov2 import resize_positions, to_timm_names
from routing.pretrained.weight_files import read_tensors

WEIGHTS_FOLDER = SHARED / "weights"
MOBILENET = WEIGHTS_FOLDER / "mobilenet_v2_imagenet.safetensors"
MOBILENET_SHA256 = "8500855fba52dff844b81efe7dfa48f607c39516f2f4906ba85594cd21534fb8"
MOBILENET_OPTIONS = {"pad_type": "same", "bn_eps": 1e-3, "num_classes": 1001}


def test_every_backbone_is_asked():
    others = {"dinov2": DINOv2, "clip": CLIP, "timm": Timm}
    assert others | {"inception": Inception} == BACKBONES


# DINOv2, in the layout of the published files.


def hub_state(dim, depth, hidden, rng, gated=False, side=37):
    """A state dict as torch.hub's DINOv2 has it; random, with tensors far from their starts."""
    draw = lambda *shape, scale=0.02: scale * torch.randn(shape, generator=rng)  # noqa: E731
    state = {
        "cls_token": draw(1, 1, dim, scale=0.5),
        "pos_embed": draw(1, 1 + side**2, dim, scale=0.5),
        "mask_token": draw(1, dim),
        "patch_embed.proj.weight": draw(dim, 3, 14, 14),
        "patch_embed.proj.bias": draw(dim),
        "norm.weight": 1 + draw(dim, scale=0.3),
        "norm.bias": draw(dim, scale=0.3),
    }
    for i in range(depth):
        sizes = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim)}
        if gated:
            sizes |= {"mlp.w12": (2 * hidden, dim), "mlp.w3": (dim, hidden)}
        else:
            sizes |= {"mlp.fc1": (hidden, dim), "mlp.fc2": (dim, hidden)}
        for name, (rows, columns) in sizes.items():
            state[f"blocks.{i}.{name}.weight"] = draw(rows, columns, scale=columns**-0.5)
            state[f"blocks.{i}.{name}.bias"] = draw(rows)
        for name in ("norm1", "norm2"):
            state[f"blocks.{i}.{name}.weight"] = 1 + draw(dim, scale=0.3)
            state[f"blocks.{i}.{name}.bias"] = draw(dim, scale=0.3)
        for name in ("ls1", "ls2"):
            state[f"blocks.{i}.{name}.gamma"] = 1 + draw(dim, scale=0.3)
    return state


@pytest.fixture(scope="module")
def vit_small(tmp_path_factory):
    """A random ViT-S in the hub's layout: state, file."""
    state = hub_state(384, 12, 1536, torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("hub") / "dinov2_vits14_pretrain.pth"
    torch.save(state, path)
    return state, path


def relative(found, truth):
    return ((found.double() - truth).norm() / truth.norm()).item()


@pytest.mark.parametrize("size", [224, 98])
def test_dinov2_is_the_published_one(vit_small, rng, size):
    state, path = vit_small
    net = DINOv2("small", str(path), image_size=size).load()
    x = 2 * torch.rand(2, 3, 32, 32, generator=rng) - 1
    truth = published(state, x, num_heads=6, size=size)
    assert relative(net(x), truth) < 1e-5
    assert net.dim == 384 and net.size == size
    assert relative(net(x.flip(0)), truth) > 1e-2


def test_dinov2_at_its_own_size_keeps_its_positions(vit_small):
    state, _ = vit_small
    assert torch.equal(resize_positions(state["pos_embed"], 37), state["pos_embed"])
    assert "mask_token" in state and "mask_token" not in to_timm_names(state, 224)


@pytest.mark.parametrize("grid", [1, 4, 16, 24, 36, 38, 64])
def test_positions_are_resampled_with_the_offset(grid, rng):
    table = torch.randn(1, 1 + 37**2, 3, generator=rng, dtype=torch.float64)
    M = published_grid(37, grid)
    plane = torch.einsum("ia,jb,abd->ijd", M, M, table[0, 1:].reshape(37, 37, 3))
    found = resize_positions(table, grid)
    torch.testing.assert_close(found[0, 1:], plane.reshape(-1, 3), rtol=1e-9, atol=1e-9)
    assert torch.equal(found[0, 0], table[0, 0])


def test_the_giant_is_gated(tmp_path, rng, monkeypatch):
    """Its MLP is SwiGLU under other names; two blocks of it here, for 40 there."""
    import timm

    state = hub_state(1536, 2, 4096, rng, gated=True, side=16)
    path = tmp_path / "giant.pth"
    torch.save(state, path)
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: create(*a, **k, depth=2))
    net = DINOv2("giant", str(path)).load()
    x = 2 * torch.rand(1, 3, 224, 224, generator=rng) - 1
    assert relative(net(x), published(state, x, num_heads=24)) < 1e-5


def test_work_of_a_vit_small(vit_small):
    n, d, net = 257, 384, DINOv2("small", str(vit_small[1])).load()
    block = n * d * 3 * d + 2 * n * n * d + n * d * d + 2 * n * d * 4 * d
    assert net.flop_per_image == 2 * (256 * 588 * d + 12 * block)


def test_dinov2_refuses(vit_small, tmp_path):
    state, path = vit_small
    with refused("dinov2: image_size: wanted a multiple of 14, got 225; use 224"):
        DINOv2("small", image_size=225)
    with refused("the weights do not fit the network: .* has shape"):
        DINOv2("base", str(path)).load()
    with refused("blocks.3.ls1.gamma is missing; use the file"):
        torch.save({n: v for n, v in state.items() if n != "blocks.3.ls1.gamma"}, tmp_path / "a")
        DINOv2("small", str(tmp_path / "a")).load()
    with refused("register_tokens is unknown; use"):
        torch.save(state | {"register_tokens": torch.zeros(1, 4, 384)}, tmp_path / "b")
        DINOv2("small", str(tmp_path / "b")).load()
    with refused("pos_embed is missing"):
        torch.save({n: v for n, v in state.items() if n != "pos_embed"}, tmp_path / "c")
        DINOv2("small", str(tmp_path / "c")).load()
    with refused(f"wanted sha256 {'0' * 64}, got "):
        DINOv2("small", str(path), sha256="0" * 64).load()


# CLIP: OpenAI's layout, both towers.

TINY = {"image_size": 16, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}


@pytest.fixture
def tiny_clip(monkeypatch):
    """A configuration of open_clip that tests can afford, with and without QuickGELU."""
    import open_clip

    configs = {
        "tiny-quickgelu": {"embed_dim": 24, "vision_cfg": TINY, "quick_gelu": True},
        "tiny": {"embed_dim": 24, "vision_cfg": TINY},
        "timms": {"embed_dim": 24, "vision_cfg": {"timm_model_name": "x", "layers": 2}},
        "resnet": {"embed_dim": 24, "vision_cfg": {"layers": [1, 1, 1, 1], "image_size": 16}},
    }
    monkeypatch.setattr(open_clip, "get_model_config", configs.get)


def clip_state(rng):
    d = TINY["width"]
    draw = lambda *shape, scale=0.1: scale * torch.randn(shape, generator=rng)  # noqa: E731
    state = {
        "visual.class_embedding": draw(d),
        "visual.positional_embedding": draw(5, d),
        "visual.proj": draw(d, 24),
        "visual.conv1.weight": draw(d, 3, 8, 8),
        "logit_scale": torch.tensor(4.6),
        "text_projection": draw(8, 24),
    }
    norms = {"visual.ln_pre", "visual.ln_post"}
    for i in range(TINY["layers"]):
        b = f"visual.transformer.resblocks.{i}"
        norms |= {f"{b}.ln_1", f"{b}.ln_2"}
        state |= {
            f"{b}.attn.in_proj_weight": draw(3 * d, d),
            f"{b}.attn.in_proj_bias": draw(3 * d),
        }
        for name, (rows, columns) in {
            "attn.out_proj": (d, d),
            "mlp.c_fc": (4 * d, d),
            "mlp.c_proj": (d, 4 * d),
        }.items():
            state |= {f"{b}.{name}.weight": draw(rows, columns), f"{b}.{name}.bias": draw(rows)}
    for name in norms:
        state |= {f"{name}.weight": 1 + draw(d), f"{name}.bias": draw(d)}
    return state


def published_clip(state, x, quick):
    """OpenAI's image tower (its model.py), in float64, of images of its own size."""
    s = {n.removeprefix("visual."): v.double() for n, v in state.items()}
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64)
    x = ((x.double() + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    d = TINY["width"]
    patches = x.reshape(len(x), 3, 2, 8, 2, 8).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    h = torch.cat(
        [s["class_embedding"].expand(len(x), 1, d), patches @ s["conv1.weight"].flatten(1).T], 1
    )
    h = h + s["positional_embedding"]
    norm = lambda h, n: F.layer_norm(h, (d,), s[f"{n}.weight"], s[f"{n}.bias"])  # noqa: E731
    h = norm(h, "ln_pre")
    for i in range(TINY["layers"]):
        b = f"transformer.resblocks.{i}"
        qkv = norm(h, f"{b}.ln_1") @ s[f"{b}.attn.in_proj_weight"].T + s[f"{b}.attn.in_proj_bias"]
        q, k, v = qkv.reshape(len(x), 5, 3, 2, 32).permute(2, 0, 3, 1, 4)
        said = ((q @ k.mT / 32**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        h = h + said @ s[f"{b}.attn.out_proj.weight"].T + s[f"{b}.attn.out_proj.bias"]
        g = norm(h, f"{b}.ln_2") @ s[f"{b}.mlp.c_fc.weight"].T + s[f"{b}.mlp.c_fc.bias"]
        g = g * torch.sigmoid(1.702 * g) if quick else F.gelu(g)
        h = h + g @ s[f"{b}.mlp.c_proj.weight"].T + s[f"{b}.mlp.c_proj.bias"]
    return norm(h[:, 0], "ln_post") @ s["proj"]


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with refused(r"clip: wanted the model 'local-dir:.*none' in a folder, got no .*config.json;"):
        CLIP(f"local-dir:{tmp_path}/none", str(tmp_path / "clip.pt")).locate()


@pytest.mark.parametrize("model", ["tiny-quickgelu", "tiny"])
def test_clip_is_the_published_tower(model, tiny_clip, tmp_path, rng):
    state = clip_state(rng)
    save_file(state, tmp_path / "clip.safetensors")
    net = CLIP(model, str(tmp_path / "clip.safetensors")).load()
    x = 2 * torch.rand(3, 3, 16, 16, generator=rng) - 1
    assert relative(net(x), published_clip(state, x, quick=model.endswith("quickgelu"))) < 1e-5
    other = published_clip(state, x, quick=not model.endswith("quickgelu"))
    assert relative(net(x), other) > 1e-4
    assert net.dim == 24 and net.size == 16


class Archive(torch.nn.Module):
    """OpenAI's files are TorchScript, in half precision, with buffers that are no weights."""

    def __init__(self, state):
        super().__init__()
        self.register_buffer("input_resolution", torch.tensor(16))
        self.visual = Archive.Part({n[7:]: v for n, v in state.items() if n.startswith("visual.")})

    class Part(torch.nn.Module):
        def __init__(self, state):
            super().__init__()
            heads = {name.split(".")[0] for name in state}
            for head in sorted(heads):
                if head in state:
                    self.register_buffer(head, state[head])
                else:
                    inner = {n[len(head) + 1 :]: v for n, v in state.items() if n.startswith(head)}
                    self.add_module(head, Archive.Part(inner))

        def forward(self, x):
            return x

    def forward(self, x):
        return x


def test_clip_reads_the_archives_of_openai(tiny_clip, tmp_path, rng):
    state = {name: value.half() for name, value in clip_state(rng).items()}
    torch.jit.script(Archive(state)).save(tmp_path / "clip.pt")
    assert read_tensors(tmp_path / "clip.pt").keys() >= {
        n for n in state if n.startswith("visual.")
    }
    net = CLIP("tiny-quickgelu", str(tmp_path / "clip.pt")).load()
    x = 2 * torch.rand(3, 3, 16, 16, generator=rng) - 1
    assert relative(net(x), published_clip(state, x, quick=True)) < 1e-5
    assert {p.dtype for p in net.net.parameters()} == {torch.float32}


def test_clip_refuses(tiny_clip, tmp_path, rng, monkeypatch):
    state = clip_state(rng)
    path = tmp_path / "clip.safetensors"
    save_file(state, path)
    for model in ("none", "timms", "resnet"):
        with refused("clip: wanted an open_clip model with its own ViT tower"):
            CLIP(model, str(path)).load()
    with refused(
        "clip: wanted a file of weights for 'tiny', because the manifest has none, got none; set"
    ):
        CLIP("tiny").load()
    with refused("class_embedding is missing"):
        save_file({"logit_scale": torch.ones(1)}, tmp_path / "text.safetensors")
        CLIP("tiny", str(tmp_path / "text.safetensors")).load()
    entry = manifest.entry("clip-vit-b-32")
    file = manifest.File("x", "", None, manifest.sha256_of(path))
    monkeypatch.setattr(manifest, "entry", lambda name: manifest.Entry(name, (file,), None, ""))
    with refused("has OpenAI's weights, .* use tiny-quickgelu"):
        CLIP("tiny", str(path)).load()
    assert CLIP("tiny-quickgelu", str(path)).load().dim == 24
    assert entry.files[0].sha256 and CLIP_WEIGHTS["ViT-B-32-quickgelu"] == entry.id


def test_the_models_of_openai_are_quick():
    import open_clip

    for model, name in CLIP_WEIGHTS.items():
        config = open_clip.get_model_config(model)
        assert config["quick_gelu"] and manifest.entry(name).files[0].sha256
        assert config["vision_cfg"]["image_size"] == (336 if "336" in model else 224)


# timm, with the real file, and with drawn ones.


@pytest.fixture(scope="module")
def mobilenet():
    if not MOBILENET.is_file():
        pytest.skip(f"{MOBILENET} is absent: no pretrained network to load")
    colours = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    return Timm(
        "mobilenetv2_100",
        str(MOBILENET),
        MOBILENET_SHA256,
        96,
        **colours,
        options=MOBILENET_OPTIONS,
    ).load()


def test_mobilenet_from_its_file(mobilenet, rng):
    import timm
    from safetensors.torch import load_file

    net = timm.create_model("mobilenetv2_100", **MOBILENET_OPTIONS).eval()
    found = net.load_state_dict(
        {n: v.float() for n, v in load_file(MOBILENET).items()}, strict=False
    )
    assert not found.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in found.missing_keys)
    x = 2 * torch.rand(3, 3, 96, 96, generator=rng) - 1  # it reads [-1, 1] as it comes
    with torch.no_grad():
        truth = net.forward_features(x).mean((2, 3))
    features = mobilenet(x)
    torch.testing.assert_close(features, truth, rtol=1e-4, atol=1e-5)
    assert features.shape == (3, 1280) and mobilenet.dim == 1280
    assert mobilenet.sha256 == MOBILENET_SHA256
    assert {p.dtype for p in mobilenet.net.parameters()} == {torch.float32}
    assert not mobilenet.net.training and not any(
        p.requires_grad for p in mobilenet.net.parameters()
    )


def test_images_of_any_size_and_grey_ones(mobilenet, rng):
    x = 2 * torch.rand(3, 3, 40, 40, generator=rng) - 1
    larger = F.interpolate(x, (96, 96), mode="bicubic", antialias=True)
    torch.testing.assert_close(mobilenet(x), mobilenet(larger), rtol=1e-3, atol=1e-4)
    grey = x[:, :1]
    torch.testing.assert_close(mobilenet(grey), mobilenet(grey.expand(-1, 3, -1, -1)))
    with refused("encoder: wanted images of 1 or 3 channels, got 4; use pca"):
        mobilenet(torch.zeros(1, 4, 8, 8))


def test_an_image_is_seen_alone(mobilenet, rng):
    x = 2 * torch.rand(5, 3, 32, 32, generator=rng) - 1
    alone = torch.cat([mobilenet(image[None]) for image in x])
    torch.testing.assert_close(mobilenet(x), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [9, 13, 20])
def test_images_are_prepared_as_the_formula_says(size, tmp_path, rng):
    """Resized first and normalised then, as everybody does it; here it is the other way round."""
    mean, std = (0.1, 0.5, 0.7), (0.3, 0.2, 0.4)
    net = drawn_resnet(tmp_path, image_size=13, mean=mean, std=std)
    x = 2 * torch.rand(2, 3, size, size, generator=rng) - 1
    resized = F.interpolate((x + 1) / 2, (13, 13), mode="bicubic", antialias=True)
    truth = (resized - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(net.prepared(x), truth, rtol=1e-4, atol=1e-5)
    if size == 9:
        assert resized.min() < 0 and resized.max() > 1  # overshoots stay


def drawn_resnet(folder, seed=0, **options):
    import timm

    torch.manual_seed(seed)
    state = timm.create_model("resnet10t", num_classes=7).state_dict()
    save_file(state, folder / "net.safetensors")
    path = str(folder / "net.safetensors")
    return Timm("resnet10t", path, options={"num_classes": 7}, **options).load()


def test_timm_refuses(tmp_path):
    drawn_resnet(tmp_path, image_size=32)
    path = str(tmp_path / "net.safetensors")
    with refused("timm: unknown model 'resnet10'; did you mean 'resnet10t'. [0-9]+ are in timm"):
        Timm("resnet10", path).load()
    with refused("timm: unknown model 'hf-hub:timm/resnet10t.c3_in1k'; "):
        Timm("hf-hub:timm/resnet10t.c3_in1k", path).load()
    with refused("timm: 'resnet10t', {'pad': 1}: .*; correct it"):
        Timm("resnet10t", path, options={"pad": 1}).load()
    with refused("fc.weight has shape .7, 512. for .1000, 512."):
        Timm("resnet10t", path).load()
    with refused(
        "weights: wanted a path or one of .*, got 'elsewhere.safetensors', which is neither"
    ):
        Timm("resnet10t", "elsewhere.safetensors").load()
    (tmp_path / "cut.safetensors").write_bytes(Path(path).read_bytes()[:1000])
    with refused("cut.safetensors cannot be read .*; fetch it again"):
        Timm("resnet10t", str(tmp_path / "cut.safetensors")).load()
    np.savez(tmp_path / "pickle.pth", a=np.zeros(3))
    with refused("cannot be read|wanted named tensors"):
        Timm("resnet10t", str(tmp_path / "pickle.pth.npz")).load()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    drawn_resnet(tmp_path, image_size=32)
    path = tmp_path / "net.safetensors"
    state = load_file(path)
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    save_file(state, path)
    word = (
        "wanted finite weights, got nan or inf in 1 of .*, for example layer1.0.conv1.weight; use"
    )
    with refused(f"timm: {path}: {word}"):
        Timm("resnet10t", str(path), options={"num_classes": 7}).load()


# A published number, where the published file is present.


def test_dinov2_has_the_sum_of_torch_fidelitys_own_test():
    """One image of noise, resized as TensorFlow 1 does: -34.6249580383 (their tests, v0.4.0)."""
    try:
        net = DINOv2("base", resize="tf1_bilinear", precision="float32").load()
    except ValueError as error:
        pytest.skip(f"dinov2-base: {str(error)[:60]}")
    draw = torch.Generator().manual_seed(2023)
    image = torch.randint(256, (1, 3, 32, 32), generator=draw, dtype=torch.uint8)
    found = net(image.float() / 127.5 - 1).double().sum().item()
    assert found == pytest.approx(-34.6249580383, abs=1e-3)  # theirs is 1e-4, on other processors
