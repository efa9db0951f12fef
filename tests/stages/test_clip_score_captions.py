"""Captions in CLIP's space: the tower of open_clip from its file, and the scores that follow."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pretrained import offline  # noqa: F401
from safetensors.torch import save_file
from scipy import stats
from stages import make, refused, run

from routing.metrics.formulas import clip_score
from routing.pretrained.clip_text_networks import TextTower
from routing.pretrained.image_networks import CLIP
from routing.pretrained.manifest import sha256_of
from routing.stages import clip_score_captions as stage
from routing.workflow import artifacts

VISION = {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8, "head_width": 32}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
CONFIG = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
CONFIGS = {
    "tiny": CONFIG,
    "tiny-quickgelu": CONFIG | {"quick_gelu": True},
    "short": CONFIG | {"text_cfg": TEXT | {"context_length": 5}},
    "theirs": CONFIG | {"text_cfg": TEXT | {"hf_model_name": "roberta-base"}},
    "pieces": CONFIG | {"text_cfg": TEXT | {"hf_tokenizer_name": "t5"}},
}
CAPTIONS = ["A red fox, at dawn", "the quiet sea", "x " * 75 + "end", "x " * 74 + "end", "Zürich"]


@pytest.fixture(autouse=True)
def configs(monkeypatch):
    import open_clip

    monkeypatch.setattr(open_clip, "get_model_config", CONFIGS.get)


@pytest.fixture(scope="module", params=["tiny", "tiny-quickgelu"])
def drawn(request, tmp_path_factory):
    """A whole CLIP with random weights: name, file, open_clip's network."""
    return saved(request.param, tmp_path_factory.mktemp("clip") / "clip.safetensors")


def saved(name, path):
    from open_clip.model import CLIP as Whole

    torch.manual_seed(0)
    options = {"quick_gelu": False} | CONFIGS[name]
    net = Whole(**options).eval()
    for p in net.transformer.parameters():
        torch.nn.init.normal_(p, std=0.3)
    torch.nn.init.normal_(net.token_embedding.weight)
    save_file({n: p.contiguous() for n, p in net.state_dict().items()}, path)
    return name, path, net


def theirs(net, captions, context_length=77):
    import open_clip

    with torch.no_grad():
        return net.encode_text(open_clip.SimpleTokenizer(context_length=context_length)(captions))


def test_the_tower_is_open_clips(drawn, offline):  # noqa: F811
    name, path, net = drawn
    tower = TextTower.load(CLIP(name, str(path)))
    found, truth = tower(CAPTIONS), theirs(net, CAPTIONS)
    assert found.shape == (5, 24) and found.dtype == torch.float32
    assert (found - truth).norm() < 1e-6 * truth.norm()
    others = (found[:, None] - found).norm(dim=2) + torch.eye(5)
    assert others.min() > 1e-2 and not found.requires_grad
    assert (tower.dim, tower.num_pieces, tower.sha256) == (24, 77, sha256_of(path))
    alone = torch.cat([tower([c]) for c in CAPTIONS])
    assert (alone - found).norm() < 1e-6 * truth.norm()
    with torch.autocast("cpu", torch.bfloat16):  # whatever holds outside
        assert torch.equal(tower(CAPTIONS), found)
    assert not tower.net.training
    assert not any(p.requires_grad for p in tower.net.parameters())


def test_a_shorter_context_is_that_of_the_model(tmp_path):
    name, path, net = saved("short", tmp_path / "clip.safetensors")
    tower = TextTower.load(CLIP(name, str(path)))
    truth = theirs(net, CAPTIONS, context_length=5)
    assert tower.num_pieces == 5 and (tower(CAPTIONS) - truth).norm() < 1e-6 * truth.norm()


@pytest.mark.parametrize("size", [16, 9, 40])
def test_images_and_scores_are_open_clips(drawn, size):
    """Its own preprocessing of stored images, its image tower, and its normalised product."""
    import open_clip
    from PIL import Image

    name, path, net = drawn
    stored = np.random.default_rng(0).integers(256, size=(5, size, size, 3), dtype=np.uint8)
    see = open_clip.image_transform(16, is_train=False)
    with torch.no_grad():
        read = torch.stack([see(Image.fromarray(image)) for image in stored])
        truth = net.encode_image(read)
        unit = net.encode_image(read, normalize=True)
    values = torch.from_numpy(stored).permute(0, 3, 1, 2).float() * (2 / 255) - 1
    clip = CLIP(name, str(path), resize="bicubic_pil")
    tower = clip.load()
    torch.testing.assert_close(tower.prepared(values), read, rtol=1e-5, atol=1e-5)
    found = tower(values)
    assert (found - truth).norm() < 1e-5 * truth.norm() and (found[0] - found[1]).norm() > 0.1
    in_floats = CLIP(name, str(path)).load()(values)
    assert ((in_floats - truth).norm() > 1e-3 * truth.norm()) == (size != 16)  # what pil changes
    texts = theirs(net, CAPTIONS)
    expected = (unit * (texts / texts.norm(dim=1, keepdim=True))).sum(1)
    ours = clip_score.cosines(found, TextTower.load(clip)(CAPTIONS))
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_the_two_activations_differ(tmp_path):
    _, path, net = saved("tiny", tmp_path / "clip.safetensors")
    quick = TextTower.load(CLIP("tiny-quickgelu", str(path)))(CAPTIONS)
    truth = theirs(net, CAPTIONS)
    assert (quick - truth).norm() > 1e-3 * truth.norm()


def test_the_layout_with_towers_apart(drawn, tmp_path):
    name, path, net = drawn
    state = {
        n if n.startswith("visual.") or n == "logit_scale" else f"text.{n}": p.contiguous()
        for n, p in net.state_dict().items()
    }
    save_file(state, tmp_path / "apart.safetensors")
    found = TextTower.load(CLIP(name, str(tmp_path / "apart.safetensors")))(CAPTIONS)
    assert torch.equal(found, TextTower.load(CLIP(name, str(path)))(CAPTIONS))


def test_what_is_longer_than_the_context_is_counted(drawn):
    tower = TextTower.load(CLIP(drawn[0], str(drawn[1])))
    assert tower.lengths(CAPTIONS).tolist()[1:4] == [5, 78, 77]
    cut = CAPTIONS[2].removesuffix("end")
    assert torch.equal(tower([CAPTIONS[2]]), tower([cut])) and tower.lengths([cut]) == 77


def test_models_with_open_clips_tokenizer_have_no_options_of_it():
    """Else the tower would have to hand them on."""
    import open_clip

    configs = Path(open_clip.__file__).with_name("model_configs").glob("*.json")
    texts = [json.loads(path.read_text()).get("text_cfg", {}) for path in configs]
    own = [text for text in texts if not text.get("hf_tokenizer_name")]
    assert len(own) > 20 and not any(text.get("tokenizer_kwargs") for text in own)


def test_the_tower_refuses(drawn, tmp_path):
    name, path, net = drawn
    for model in ("theirs", "pieces"):
        with refused("wanted a model with open_clip's own text tower and tokenizer, got"):
            TextTower.load(CLIP(model, str(path)))
    state = {n: p.contiguous() for n, p in net.state_dict().items()}
    image_alone = {n: p for n, p in state.items() if n.startswith("visual.")}
    save_file(image_alone, tmp_path / "image.safetensors")
    with refused("the weights do not fit the network: positional_embedding is missi"):
        TextTower.load(CLIP(name, str(tmp_path / "image.safetensors")))
    save_file(state | {"extra": torch.zeros(1)}, tmp_path / "more.safetensors")
    with refused("extra is unknown; use"):
        TextTower.load(CLIP(name, str(tmp_path / "more.safetensors")))
    with refused("positional_embedding has shape .77, 16. for .5, 16."):
        TextTower.load(CLIP("short", str(path)))
    with refused(f"wanted sha256 {'0' * 64}, got"):
        TextTower.load(CLIP(name, str(path), "0" * 64))


# The stage.


def made_encoder(path, drawn, arrays=None, **changed):
    name, weights, _ = drawn
    backbone = {"name": "clip", "model": name, "weights": str(weights), "sha256": None}
    note = {"kind": "network", "backbone": backbone, "sha256": sha256_of(weights), "dim": 24}
    return make("fit_encoder", path, arrays or {}, encoder=note | changed)


def run_stage(folder, encoder, captions):
    index = pd.DataFrame({"sample_id": range(len(captions)), "caption": captions, "label": 0})
    path = make("index", folder / "index.parquet", index, licence=["CC0"])
    return run("clip_score_captions", folder, {"encoder": "clip"}, encoder=encoder, index=path)


def test_every_caption_stands_once(drawn, tmp_path, monkeypatch, offline):  # noqa: F811
    monkeypatch.setattr(stage, "BATCH", 2)
    encoder = made_encoder(tmp_path / "e.safetensors", drawn)
    given = [CAPTIONS[i] for i in (2, 0, 1, 0, 3, 4, 1)] + ["", " \n"]
    files = run_stage(tmp_path, encoder, given)
    table = artifacts.read_table(files["captions"])
    assert table["caption"].tolist() == sorted(CAPTIONS)
    assert table["is_cut"].tolist() == [c == CAPTIONS[2] for c in sorted(CAPTIONS)]
    arrays = artifacts.read_arrays(files["features"])
    for name, before in (("features", ""), ("depicted", "A photo depicts ")):
        truth = theirs(drawn[2], [before + c for c in sorted(CAPTIONS)]).numpy()
        assert arrays[name].dtype == np.float32
        assert np.linalg.norm(arrays[name] - truth) < 1e-6 * np.linalg.norm(truth)
    note = artifacts.read_provenance(files["features"])
    assert note["num_cut"] == 1 and note["sha256"] == sha256_of(drawn[1])
    assert note["backbone"]["model"] == drawn[0] and note["licence"] == ["CC0"]


def test_the_stage_refuses(drawn, tmp_path):
    good = made_encoder(tmp_path / "e.safetensors", drawn)
    with refused("wanted captions in the data, got none that are not empty; leave clip_score"):
        run_stage(tmp_path, good, ["", "  "])
    linear = make("fit_encoder", tmp_path / "l.safetensors", {}, encoder={"kind": "linear"})
    with refused("wanted an encoder of kind clip, got 'clip'; name one"):
        run_stage(tmp_path, linear, ["a"])
    backbone = {"name": "timm", "model": "resnet10t"}
    other = made_encoder(tmp_path / "o.safetensors", drawn, backbone=backbone)
    with refused("wanted an encoder of kind clip, got 'clip'; name one"):
        run_stage(tmp_path, other, ["a"])
    projected = {"mean": np.zeros(24), "projection": np.eye(24)[:, :3]}
    cut = made_encoder(tmp_path / "c.safetensors", drawn, projected, dim=3)
    with refused("wanted the whole embedding, got 'clip', which keeps 3 components of it; add"):
        run_stage(tmp_path, cut, ["a"])
    old = made_encoder(tmp_path / "s.safetensors", drawn, sha256="0" * 64)
    with refused(f"embeds images with weights of sha256 {'0' * 64}, found .*; put the old file"):
        run_stage(tmp_path, old, ["a"])


def test_embeddings_that_are_no_numbers_are_refused(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(TextTower, "__call__", lambda self, c: torch.full((len(c), 24), torch.nan))
    with refused("wanted finite embeddings, got nan or inf for 'a'"):
        run_stage(tmp_path, made_encoder(tmp_path / "e.safetensors", drawn), ["a"])


def test_so_are_those_after_the_words_of_clipscore(drawn, tmp_path, monkeypatch):
    def read(self, captions):
        return torch.full((len(captions), 24), torch.nan if "depicts" in captions[0] else 1.0)

    monkeypatch.setattr(TextTower, "__call__", read)
    with refused("wanted finite embeddings, got nan or inf for 'a'"):
        run_stage(tmp_path, made_encoder(tmp_path / "e.safetensors", drawn), ["a"])


# Scores.


def test_cosines_are_of_the_rows(rng):
    a, b = torch.randn(2, 7, 5, generator=rng)
    found = clip_score.cosines(a, b)
    np.testing.assert_allclose(found, torch.cosine_similarity(a, b), atol=1e-6)
    assert found.dtype == torch.float64
    torch.testing.assert_close(clip_score.cosines(3 * a, 0.1 * b), found)
    same = clip_score.cosines(a, a)
    assert 1 - 1e-15 <= same.min() <= same.max() <= 1
    assert torch.equal(clip_score.cosines(a, -a), -same)
    axes = torch.eye(3)
    assert clip_score.cosines(axes, axes.roll(1, 0)).tolist() == [0, 0, 0]


C = torch.tensor([0.3, -0.1, 0.2, -0.5])
WEIGHTS = torch.tensor([[1.0, 1, 1, 1], [1, 0, 1, 0], [0, 2, 0, 1], [0, 0, 3, 1]])
SCORES = {
    "cosine": [-0.025, 0.25, -0.7 / 3, 0.025],
    "hessel": [2.5 * 0.125, 2.5 * 0.25, 0.0, 2.5 * 0.15],
    "torchmetrics": [0.0, 25.0, 0.0, 2.5],
}


def test_every_convention_is_asked():
    assert clip_score.CONVENTIONS.keys() == SCORES.keys()


@pytest.mark.parametrize("name", SCORES)
def test_conventions_are_their_formulas(name, rng):
    found = clip_score.CONVENTIONS[name](C.double(), WEIGHTS)
    np.testing.assert_allclose(found, SCORES[name], atol=1e-7)
    assert found.dtype == torch.float64
    with refused("weights: wanted at least 1 samples in every replicate, got 0"):
        clip_score.CONVENTIONS[name](C, torch.zeros(1, 4))


def test_torchmetrics_is_the_formula_of_its_source(rng):
    a, b = torch.randn(2, 7, 5, generator=rng)
    b = a + b  # so that the mean is positive
    each = 100 * torch.cosine_similarity(a, b)
    found = clip_score.torchmetrics_score(clip_score.cosines(a, b), torch.ones(1, 7))
    assert found.item() == pytest.approx(max(each.mean().item(), 0), rel=1e-6) and found > 0


def test_the_right_way_round(rng):
    """Texts of other images score lower."""
    a = torch.randn(50, 8, generator=rng)
    b = a + 0.5 * torch.randn(50, 8, generator=rng)
    right, wrong = clip_score.cosines(a, b), clip_score.cosines(a, b.roll(1, 0))
    assert stats.ttest_rel(right, wrong).statistic > 5
    for convention in clip_score.CONVENTIONS.values():
        assert convention(right, torch.ones(1, 50)) > convention(wrong, torch.ones(1, 50))


def test_bad_embeddings_are_one_line(rng):
    a = torch.randn(4, 5, generator=rng)
    with refused(r"wanted a text for each image in one space, got \[4, 5\] and \[3, 5\]; embed"):
        clip_score.cosines(a, a[:3])
    for bad in (0.0, torch.nan, torch.inf):
        broken = a.clone()
        broken[1] = broken[2] = bad
        with refused("wanted finite embeddings other than 0, got others for 2 of 4 texts; find"):
            clip_score.cosines(a, broken)
        with refused("for 2 of 4 images"):
            clip_score.cosines(broken, a)
