"""The embed stage: a shard at a time, block by block, the same features as all at once."""

import numpy as np
import pytest
from encoder_fixtures import LEVELS, fitted, sharded_data, stage
from stages import content, make, refused

from routing.data import pixel_values
from routing.loading.feature_encoders import fitted_encoders
from routing.metrics import feature_space_names
from routing.stages import embed
from routing.workflow import artifacts

pytest_plugins = ["encoder_fixtures"]
EXAMPLES = {"pca": {"name": "pca", "dim": 12}, "identity": {"name": "identity"}}


def embedded(folder, encoder, shard):
    return stage("embed", folder / "f.safetensors", {}, encoder=[encoder], samples=[shard])


def features(path):
    return artifacts.read_arrays(path)["features"]


@pytest.mark.parametrize("spec", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_shards_together_are_the_whole(spec, digits, shards, tmp_path):
    encoder = fitted(tmp_path, spec, **shards)
    found = [features(embedded(tmp_path, encoder, shard)) for shard in shards["samples"]]
    values = pixel_values.to_values(digits[0], LEVELS)
    truth = fitted_encoders.apply_linear(artifacts.read_arrays(encoder), values)
    assert found[0].dtype == np.float32 and found[0].shape[1] == truth.shape[1]
    np.testing.assert_allclose(np.concatenate(found), truth, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spec", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_one_shard_is_bit_equal_to_the_product(spec, digits, tmp_path):
    whole = sharded_data(tmp_path, *digits)
    encoder = fitted(tmp_path, spec, **whole)
    arrays, values = artifacts.read_arrays(encoder), pixel_values.to_values(digits[0], LEVELS)
    found = features(embedded(tmp_path, encoder, whole["samples"][0]))
    assert np.array_equal(found, fitted_encoders.apply_linear(arrays, values))
    eye = arrays | {"projection": arrays.get("projection", np.eye(64))}
    flat = values.reshape(len(values), -1).astype(np.float64) - eye["mean"]
    assert np.array_equal(found, (flat @ eye["projection"]).astype(np.float32))


def test_train_features_are_white(digits, tmp_path):
    whole = sharded_data(tmp_path, *digits)
    encoder = fitted(tmp_path, EXAMPLES["pca"], **whole)
    found = features(embedded(tmp_path, encoder, whole["samples"][0])).astype(np.float64)
    train = digits[1]
    np.testing.assert_allclose(found[train].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(found[train].T), np.eye(12), atol=1e-4)


def test_a_sample_is_encoded_alone(digits, shards, tmp_path):
    path = fitted(tmp_path, EXAMPLES["pca"], **shards)
    encode = fitted_encoders.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
    values = pixel_values.to_values(digits[0][:20], LEVELS)
    alone = np.concatenate([encode(value[None]) for value in values])
    np.testing.assert_allclose(encode(values), alone, rtol=1e-5, atol=1e-6)


def test_features_say_of_which_space_they_are(shards, tmp_path):
    encoder = fitted(tmp_path, EXAMPLES["pca"], **shards)
    for spec in ({"feature_space": "pixels"}, {}):
        given = {"encoder": [encoder], "samples": [shards["samples"][0]]}
        path = stage("embed", tmp_path / "f.safetensors", spec, **given)
        expected = feature_space_names.feature_metadata(
            spec.get("feature_space"), artifacts.read_provenance(encoder), (1, 8, 8)
        )
        assert artifacts.read_provenance(path)["feature_space"] == expected
        assert expected["name"] == spec.get("feature_space") and expected["image"] == [1, 8, 8]


class Double:
    """An encoder that counts."""

    block_size, dim, device, flop_per_image = 4, 1, "cpu", 0

    def __init__(self):
        self.seen = []

    def __call__(self, values):
        self.seen.append(len(values))
        return 2 * values[:, :1]

    def outputs(self, values):
        return {"features": self(values)}


@pytest.mark.parametrize("num", [0, 1, 4, 5, 12])
def test_blocks_cover_the_shard_in_order(num):
    stored = np.arange(num, dtype=np.float32)[:, None]
    encode = Double()
    blocks = list(embed.features(encode, stored, None))
    found = np.concatenate([block["features"] for block in blocks])
    assert found.tolist() == [[2.0 * i] for i in range(num)]
    assert sum(encode.seen) == num and max(encode.seen) <= 4


def test_a_network_embeds_a_shard(digits, few, resnet, tmp_path, monkeypatch):
    encoder = fitted(tmp_path, resnet, **few)
    encode = fitted_encoders.load(
        artifacts.read_arrays(encoder), artifacts.read_provenance(encoder)
    )
    truth = encode(pixel_values.to_values(digits[0][30:60], LEVELS))
    monkeypatch.setattr(fitted_encoders, "CPU_BATCH", 7)  # the last batch is not full
    path = embedded(tmp_path, encoder, few["samples"][1])
    np.testing.assert_allclose(features(path), truth, rtol=1e-4, atol=1e-5)
    assert features(path).shape == (30, 512)


def test_the_features_say_where_they_were_made(shards, tmp_path, monkeypatch):
    encoder = fitted(tmp_path, EXAMPLES["identity"], **shards)
    elsewhere = fitted_encoders.LinearEncoder(
        {"mean": np.zeros(64)}, (1, 8, 8), device="elsewhere"
    )
    monkeypatch.setattr(fitted_encoders, "load", lambda *_: elsewhere)
    path = embedded(tmp_path, encoder, shards["samples"][0])
    assert artifacts.read_provenance(path)["device"] == "elsewhere"


def test_a_shard_without_rows_has_features_without_rows(few, resnet, shards, tmp_path):
    none = {"samples": np.zeros((0, 1, 8, 8), np.uint8)}
    empty = make("data", tmp_path / "e.safetensors", none, levels=LEVELS)
    for spec, inputs, dim in ((resnet, few, 512), (EXAMPLES["pca"], shards, 12)):
        encoder = fitted(tmp_path, spec, **inputs)
        found = features(embedded(tmp_path, encoder, empty))
        assert found.shape == (0, dim) and found.dtype == np.float32


def test_features_do_not_know_who_else_is_embedded(digits, few, resnet, tmp_path):
    """The same command twice gives the same bits."""
    encoder = fitted(tmp_path, resnet, **few)
    one = content(embedded(tmp_path, encoder, few["samples"][0]))
    assert content(embedded(tmp_path, encoder, few["samples"][0])) == one


def test_samples_of_another_shape_are_refused(digits, shards, tmp_path):
    encoder = fitted(tmp_path, EXAMPLES["pca"], **shards)
    stored = {"samples": digits[0][:9, :, :4]}
    other = make("data", tmp_path / "o.safetensors", stored, levels=LEVELS)
    with refused(r"encoder: fitted on samples of shape \[1, 8, 8\], got \[1, 4, 8\]; fit it"):
        embedded(tmp_path, encoder, other)


def test_real_images_of_more_levels_than_they_say_are_refused(digits, shards, tmp_path):
    encoder = fitted(tmp_path, EXAMPLES["pca"], **shards)
    stored = {"samples": 2 * digits[0][:9]}
    other = make("data", tmp_path / "o.safetensors", stored, levels=LEVELS)
    with refused("/o.safetensors: wanted bytes of 0..16, got 32"):
        embedded(tmp_path, encoder, other)
