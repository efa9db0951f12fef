"""The stage latents: the latents of each image, a shard at a time."""

import numpy as np
import pytest
import torch
from pretrained import autoencoder, copied, fill
from stages import content, make, refused, run

from routing.data import pixel_values
from routing.pretrained import autoencoders
from routing.workflow import artifacts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("latents") / "vae"
    autoencoder(path)
    return path


def choice(folder, **options):
    return {"name": "autoencoder_kl", "folder": str(folder)} | options


def shard(path, stored, levels=255):
    notes = {"levels": levels, "world": None, "licence": ["CC0"], "visibility": "private"}
    return make("data", path, {"samples": stored}, **notes)


def pixels(num=5, shape=(3, 8, 16)):
    return np.random.default_rng(0).integers(256, size=(num, *shape)).astype(np.uint8)


@pytest.mark.parametrize("num", [5, 4, 1, 0])
def test_latents_of_a_shard(folder, tmp_path, num):
    stored = pixels(num)
    made = shard(tmp_path / "x.safetensors", stored)
    files = run(
        "latents", tmp_path / "z", {"autoencoder": choice(folder, batch_size=2)}, samples=made
    )
    found = artifacts.read_arrays(files["samples"])["samples"]
    coder = autoencoders.load(choice(folder))
    expected = coder.encode(torch.from_numpy(pixel_values.to_values(stored, 255))).numpy()
    assert found.shape == (num, 2, 2, 4) and found.dtype == np.float16
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-5)
    note = artifacts.read_provenance(files["samples"])
    assert note["levels"] is None and note["world"] is None
    assert note["autoencoder"] == coder.note | {"batch_size": 2}
    assert (note["licence"], note["visibility"]) == (["CC0"], "private")
    assert pixel_values.to_values(found, note["levels"]).dtype == np.float32


def test_shards_are_rows_of_the_whole(folder, tmp_path):
    stored, spec = pixels(6), {"autoencoder": choice(folder)}
    cuts = {"whole": slice(0, 6), "a": slice(0, 2), "b": slice(2, 6)}
    made = {}
    for name, rows in cuts.items():
        path = shard(tmp_path / f"{name}.safetensors", stored[rows])
        files = run("latents", tmp_path / name, spec, samples=path)
        made[name] = artifacts.read_arrays(files["samples"])["samples"]
    np.testing.assert_allclose(
        np.concatenate([made["a"], made["b"]]), made["whole"], rtol=2e-3, atol=1e-5
    )
    again = run("latents", tmp_path / "again", spec, samples=tmp_path / "whole.safetensors")
    assert content(again["samples"]) == content(tmp_path / "whole" / "samples.safetensors")


def test_what_has_no_latents_is_refused(folder, tmp_path):
    def refuse(message, stored, levels=255, chosen=None):
        path = shard(tmp_path / "x.safetensors", stored, levels)
        with refused(message):
            spec = {"autoencoder": chosen or choice(folder)}
            run("latents", tmp_path / "z", spec, samples=path)
        assert not (tmp_path / "z" / "samples.safetensors").exists()

    refuse("wanted a source of images, got samples", np.zeros((2, 2), np.float32), None)
    refuse("multiples of 4 .* got 8 x 18", pixels(2, (3, 8, 18)))
    refuse("images of 3 channels", pixels(2, (1, 8, 8)), 16)
    huge = choice(folder, scale=1e9, batch_size=2)
    refuse("float16 can hold, got others for rows 0 to 1", pixels(3), chosen=huge)
    nothing = copied(folder, tmp_path / "vae", fill(float("nan")))
    refuse("wanted finite weights, got nan or inf in", pixels(3), chosen=choice(nothing))
