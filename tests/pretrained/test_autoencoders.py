"""Codecs: latents are diffusers' own, with its scale and shift, and nothing is fetched."""

import hashlib
import json
from functools import partial

import pytest
import torch
from pretrained import autoencoder, copied, fill, offline  # noqa: F401
from stages import refused

from routing.pretrained import autoencoders, manifest
from routing.pretrained.autoencoders import AUTOENCODERS, AutoencoderKL

SCALE = 0.18215  # diffusers' default: Stable Diffusion 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("autoencoder") / "vae"
    autoencoder(path)
    return path


@pytest.fixture(scope="module")
def net(folder):
    from diffusers import AutoencoderKL as Network

    return Network.from_pretrained(folder, low_cpu_mem_usage=False).eval().requires_grad_(False)


def load(folder, **options):
    return autoencoders.load({"name": "autoencoder_kl", "folder": str(folder)} | options)


def values(rng, num=5, height=16, width=8):
    return torch.rand(num, 3, height, width, generator=rng) * 2 - 1


def test_the_table_of_codecs():
    assert AUTOENCODERS == {"autoencoder_kl": AutoencoderKL}


@pytest.mark.parametrize(
    ("options", "scale", "shift"),
    [({}, SCALE, 0), ({"scale": 0.5}, 0.5, 0), ({"shift": 0.75}, SCALE, 0.75)]
    + [({"scale": 2.0, "shift": -0.25}, 2, -0.25)],
)
def test_latents_are_those_of_diffusers(folder, net, options, scale, shift, rng, offline):  # noqa: F811
    x, coder = values(rng), load(folder, **options)
    z = coder.encode(x)
    assert z.shape == (5, 2, 4, 2) and z.dtype == torch.float32
    torch.testing.assert_close(z, (net.encode(x).latent_dist.mean - shift) * scale)
    drawn = 3 * torch.randn(z.shape, generator=rng)
    raw = net.decode(drawn / scale + shift).sample
    found = coder.decode(drawn)
    torch.testing.assert_close(found, raw.clamp(-1, 1))
    assert (raw.abs() > 1).any() and (raw.abs() < 1).any() and found.shape == x.shape
    assert (coder.note["scale"], coder.note["shift"]) == (scale, shift)


def test_scale_and_shift_are_those_of_the_config(folder, net, tmp_path, rng):
    other = copied(folder, tmp_path / "vae", scaling_factor=0.5, shift_factor=0.25)
    x, coder = values(rng), load(other)
    assert (coder.note["scale"], coder.note["shift"]) == (0.5, 0.25)
    torch.testing.assert_close(coder.encode(x), (net.encode(x).latent_dist.mean - 0.25) * 0.5)
    assert load(other, shift=0.0).note["shift"] == 0.0  # what is asked for, also where it is 0


def test_the_posterior_is_not_drawn_from_and_batches_do_not_matter(folder, rng):
    x = values(rng)
    torch.manual_seed(1)
    one = load(folder).encode(x)
    torch.manual_seed(2)
    torch.testing.assert_close(load(folder, batch_size=2).encode(x), one)
    assert torch.equal(load(folder).encode(x), one)
    batches = load(folder, batch_size=2).decode(one)
    torch.testing.assert_close(batches, load(folder).decode(one))


def test_nothing_is_computed_in_half_precision(folder, tmp_path, rng):
    x, coder = values(rng), load(folder)
    z = coder.encode(x)
    found = coder.decode(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(coder.encode(x), z) and torch.equal(coder.decode(z), found)
    assert torch.equal(coder.decode(z.half()), coder.decode(z.half().float()))

    def halve(arrays):
        arrays.update({name: a.half() for name, a in arrays.items()})

    half = load(copied(folder, tmp_path / "half", halve))
    torch.testing.assert_close(half.encode(x), z, atol=1e-2, rtol=0)
    assert {p.dtype for p in half.net.parameters()} == {torch.float32}


def test_a_codec_is_frozen(folder, rng):
    coder = load(folder)
    assert not coder.net.training and not any(p.requires_grad for p in coder.net.parameters())
    assert not coder.encode(values(rng).requires_grad_()).requires_grad


def test_no_images_have_no_latents(folder, rng):
    coder = load(folder)
    assert coder.encode(values(rng, 0)).shape == (0, 2, 4, 2)
    assert coder.decode(torch.zeros(0, 2, 4, 2)).shape == (0, 3, 16, 8)


def test_what_is_noted_makes_the_codec_again(folder, tmp_path, rng):
    coder = load(folder, batch_size=3, shift=0.5)
    sha256 = hashlib.sha256((folder / autoencoders.WEIGHTS).read_bytes()).hexdigest()
    assert coder.note == {
        "name": "autoencoder_kl",
        "folder": str(folder),
        "scale": SCALE,
        "shift": 0.5,
        "batch_size": 3,
        "sha256": sha256,
    }
    again = autoencoders.load(json.loads(json.dumps(coder.note)))
    x = values(rng)
    assert again.note == coder.note and torch.equal(again.encode(x), coder.encode(x))
    other = copied(folder, tmp_path / "vae", fill(0.1))
    with refused(f"^autoencoder.folder: wanted weights with sha256 {sha256}, got "):
        autoencoders.load(coder.note | {"folder": str(other)})


def remove(name, folder):
    (folder / name).unlink()


def pickled(folder):
    (folder / autoencoders.WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")


def rewrite(text, name, folder):
    (folder / name).write_text(text)


def drop(arrays):
    arrays.pop("quant_conv.weight")


BROKEN = {
    "no config": (partial(remove, "config.json"), r"wanted config.json in .*, got none; put"),
    "no weights": (
        partial(remove, autoencoders.WEIGHTS),
        "wanted diffusion_pytorch_model.safetensors",
    ),
    "pickled": (pickled, r"got diffusion_pytorch_model.bin, which is pickled .*; convert it"),
    "no json": (partial(rewrite, "{", "config.json"), "which cannot be loaded from"),
    "no tensors": (
        partial(rewrite, "x" * 99, autoencoders.WEIGHTS),
        "which cannot be loaded from",
    ),
}


@pytest.mark.parametrize(("harm", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_folders_of_something_else_are_refused(folder, tmp_path, harm, message, offline):  # noqa: F811
    other = copied(folder, tmp_path / "vae")
    harm(other)
    with refused(rf"^autoencoder\.folder: .*{message}"):
        load(other)


def test_networks_that_lack_something_are_refused(folder, tmp_path):
    with refused(r"^autoencoder\.folder: .* \(1 weights are missing: quant_conv.weight\)"):
        load(copied(folder, tmp_path / "a", drop))
    with refused("one scale for all channels, got latents_mean"):
        load(copied(folder, tmp_path / "b", latents_mean=[0.0, 0.0]))
    with refused(
        "wanted a folder on this machine or an id of the manifest, got '/nowhere/vae'; list"
    ):
        load("/nowhere/vae")
    with refused("which cannot be loaded from"):  # weights of another shape
        load(copied(folder, tmp_path / "c", latent_channels=3))


def test_a_folder_may_be_an_id_of_the_manifest(folder, tmp_path, monkeypatch):
    def entry(sha256):
        file = manifest.File(f"tiny/{autoencoders.WEIGHTS}", "nowhere", None, sha256)
        return manifest.Entry(
            "tiny-vae", (manifest.File("tiny/config.json", "", None, None), file), "", ""
        )

    coder = load(copied(folder, tmp_path / "tiny"))
    monkeypatch.setenv("ROUTING_WEIGHTS", str(tmp_path))
    known = {"tiny-vae": entry(coder.note["sha256"])}
    monkeypatch.setattr(manifest, "entries", lambda section="weights": known)
    assert load("tiny-vae").note == coder.note | {"folder": "tiny-vae"}
    known["tiny-vae"] = entry("0" * 64)
    with refused("weights 'tiny-vae': wanted sha256 000"):
        load("tiny-vae")


def test_images_without_latents_are_refused(folder, rng):
    coder = load(folder)
    with refused("multiples of 4 .* got 16 x 10"):
        coder.encode(values(rng, 1, 16, 10))
    with refused("multiples of 4 .* got 6 x 8"):
        coder.encode(values(rng, 1, 6, 8))
    with refused(r"images of 3 channels, got samples of shape \(1, 8, 8\)"):
        coder.encode(torch.zeros(1, 1, 8, 8))
    with refused(r"got samples of shape \(2,\)"):
        coder.require_shape((2,))
    with refused("latents of 2 channels, got 4"):
        coder.decode(torch.zeros(1, 4, 2, 2))


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"scale": -1.0}, {"batch_size": 0}])
def test_options_are_checked(options):
    with refused(f"autoencoder: {next(iter(options))}: wanted"):
        load("any", **options)
