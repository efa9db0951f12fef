"""The stage sample_features: features of the images as stored, in the order of the seeds."""

from pathlib import Path

import numpy as np
import pytest
import torch
from stages import make, refused, run

from routing.networks.classifier import Classifier, ClassifierShape
from routing.stages import sample_features as stage
from routing.workflow import artifacts

PLANE = {"mean": np.arange(4.0), "projection": np.eye(4)[:, :3] * 2}
SHAPE = ClassifierShape(channels=1, size=2, width=3, dim=4, num_classes=5)


def plane(path, shape):
    return make("fit_encoder", path, PLANE, encoder={"kind": "linear", "shape": shape})


@pytest.fixture
def encoder(tmp_path):
    return plane(tmp_path / "encoder.safetensors", [1, 2, 2])


@pytest.fixture
def flat(tmp_path):
    """The same of points."""
    return plane(tmp_path / "flat.safetensors", [4])


def shard(folder, values, name="s", levels=16):
    path = folder / f"{name}.safetensors"
    return make("samples", path, {"samples": values}, levels=levels)


def features(folder, samples, shard_size=None, **extractor):
    some = samples if isinstance(samples, Path) else samples[0]
    size = shard_size or len(artifacts.read_arrays(some)["samples"])
    spec = {"sample_set": "arm", "autoencoder": None, "shard_size": size}
    files = run("sample_features", folder, spec, samples=samples, **extractor)
    return artifacts.read_arrays(files["features"])


def test_samples_are_rounded_to_storable_values(encoder, tmp_path):
    values = np.array([[-3.0, -0.99, 0.06, 0.07], [0.93, 0.95, 1.2, 0.0]], np.float32)
    found = features(tmp_path, shard(tmp_path, values.reshape(2, 1, 2, 2)), encoder=encoder)
    seen = np.array([[-1, -1, 0, 0.125], [0.875, 1, 1, 0]])
    expected = (seen - PLANE["mean"]) @ PLANE["projection"]
    np.testing.assert_allclose(found["features"], expected, rtol=1e-6)
    assert found.keys() == {"features"} and found["features"].dtype == np.float32


def test_real_images_and_their_values_have_the_same_features(encoder, tmp_path):
    stored = np.random.default_rng(0).integers(17, size=(9, 1, 2, 2)).astype(np.uint8)
    real = features(tmp_path, shard(tmp_path, stored, "r"), encoder=encoder)
    values = stored.astype(np.float32) / 8 - 1
    drawn = features(tmp_path, shard(tmp_path, values, "d"), encoder=encoder)
    assert np.array_equal(real["features"], drawn["features"])


def test_points_are_left_as_they_are(flat, tmp_path):
    points = np.random.default_rng(0).normal(scale=5, size=(6, 4))
    found = features(tmp_path, shard(tmp_path, points, levels=None), encoder=flat)
    expected = (points - PLANE["mean"]) @ PLANE["projection"]
    np.testing.assert_allclose(found["features"], expected, rtol=1e-5, atol=1e-5)


def test_shards_are_joined_in_their_order(flat, tmp_path):
    points = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    whole = features(tmp_path, shard(tmp_path, points, "w", None), encoder=flat)
    parts = [shard(tmp_path, points[i : i + 4], f"p{i}", None) for i in (0, 4, 8)]
    assert np.array_equal(features(tmp_path, parts, encoder=flat)["features"], whole["features"])


def test_an_extractor_gives_features_and_logits(tmp_path):
    torch.manual_seed(0)
    net = Classifier(SHAPE).eval()
    arrays = {name: p.detach().numpy() for name, p in net.named_parameters()}
    path = make("classifier", tmp_path / "x.safetensors", arrays, model=SHAPE.metadata())
    values = np.random.default_rng(0).normal(size=(7, 1, 2, 2)).astype(np.float32)
    found = features(tmp_path, shard(tmp_path, values), classifier=path)
    seen = np.rint((np.clip(values, -1, 1) + 1) * 8) / 8 - 1
    logits, units = net(torch.from_numpy(seen.astype(np.float32)))
    np.testing.assert_allclose(found["features"], units.detach(), atol=1e-6)
    np.testing.assert_allclose(found["logits"], logits.detach(), atol=1e-6)
    again = features(tmp_path, shard(tmp_path, values), classifier=path)
    assert np.array_equal(again["features"], found["features"])


def test_what_samples_were_asked_for_goes_with_them(flat, tmp_path):
    points = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    parts = []
    for i, requested in enumerate(([2, 0, 1], [1, 3, 0])):
        arrays = {"samples": points[3 * i : 3 * i + 3], "requested": np.array(requested)}
        parts.append(make("samples", tmp_path / f"{i}.safetensors", arrays, levels=None))
    found = features(tmp_path, parts, encoder=flat)
    assert found["requested"].tolist() == [[2], [0], [1], [1], [3], [0]]
    assert len(found["features"]) == 6


@pytest.mark.parametrize("num", [0, 3, 5])
def test_another_number_of_samples_than_promised_is_refused(num, encoder, tmp_path):
    whole = shard(tmp_path, np.zeros((4, 1, 2, 2), np.float32), "w")
    other = shard(tmp_path, np.zeros((num, 1, 2, 2), np.float32), "o")
    with refused(rf"/o.safetensors: wanted 4 samples \(samples.shard_size\), got {num}; delete"):
        features(tmp_path, [whole, other], shard_size=4, encoder=encoder)


@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 2), (1, 2, 3), (4,)])
def test_samples_of_another_shape_are_refused(shape, encoder, tmp_path):
    torch.manual_seed(0)
    arrays = {name: p.detach().numpy() for name, p in Classifier(SHAPE).named_parameters()}
    trained = make("classifier", tmp_path / "x.safetensors", arrays, model=SHAPE.metadata())
    samples = shard(tmp_path, np.zeros((4, *shape), np.float32))
    word = rf"/s.safetensors: wanted samples of shape \[1, 2, 2\] .*, got \[{shape[0]}.*\]; embed"
    for extractor in ({"encoder": encoder}, {"classifier": trained}):
        with refused(word):
            features(tmp_path, samples, **extractor)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(bad, encoder, tmp_path):
    values = np.zeros((5, 1, 2, 2), np.float32)
    values[2, 0, 1, 1] = values[4] = bad
    with refused("s.safetensors: wanted finite samples, got nan or inf in 2 of 5"):
        features(tmp_path, shard(tmp_path, values), encoder=encoder)


@pytest.mark.parametrize(
    ("stored", "word"),
    [
        (np.full((5, 1, 2, 2), 9, np.int16), "uint8 .0..16. or floats in .-1, 1., got int16"),
        (np.full((5, 1, 2, 2), 17, np.uint8), "wanted bytes of 0..16, got 17"),
        (np.full((5, 1, 2, 2), 200, np.float32), "wanted images in .-1, 1., got values from 200"),
    ],
)
def test_samples_that_are_no_images_are_refused(stored, word, encoder, tmp_path):
    with refused(f"/s.safetensors: .*{word}"):
        features(tmp_path, shard(tmp_path, stored), encoder=encoder)


def test_memory_holds_a_batch_and_the_features_are_those_of_the_whole(flat, tmp_path, monkeypatch):
    points = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    whole = features(tmp_path, shard(tmp_path, points, "w", None), encoder=flat)["features"]
    monkeypatch.setattr(stage, "BATCH", 3)
    parts = [shard(tmp_path, points[:5], "a", None), shard(tmp_path, points[5:], "b", None)]
    assert np.array_equal(features(tmp_path, parts, encoder=flat)["features"], whole)


def test_an_empty_shard_of_real_images_has_features(flat, tmp_path):
    empty = shard(tmp_path, np.zeros((0, 4), np.float32), "e", None)
    spec = {"sample_set": "data", "autoencoder": None, "shard": 0}
    files = run("sample_features", tmp_path, spec, samples=empty, encoder=flat)
    assert artifacts.read_arrays(files["features"])["features"].shape == (0, 3)
