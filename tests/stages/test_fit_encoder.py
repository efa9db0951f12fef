"""The stage fit_encoder: fitted on the train split alone, on no more samples than max_fit."""

from pathlib import Path

import numpy as np
import torch
from encoder_fixtures import LEVELS, fitted, sharded_data
from sklearn.decomposition import PCA as Decomposition
from stages import content, refused

from routing.data import pixel_values
from routing.loading.feature_encoders import fitted_encoders
from routing.loading.feature_encoders.fitting_samples import subsample
from routing.workflow import artifacts, seeds

pytest_plugins = ["encoder_fixtures"]


def test_pca_is_bit_equal_to_scikit_learn_on_all_training_rows(digits, shards, tmp_path):
    stored, train = digits
    values = pixel_values.to_values(stored, LEVELS)[train]
    truth = Decomposition(12, whiten=True, svd_solver="full").fit(
        values.reshape(len(values), -1).astype(np.float64)
    )
    path = fitted(tmp_path, {"name": "pca", "dim": 12}, **shards)
    arrays = artifacts.read_arrays(path)
    assert arrays.keys() == {"mean", "projection"}
    assert np.array_equal(arrays["mean"], truth.mean_)
    scale = np.sqrt(truth.explained_variance_)
    assert np.array_equal(arrays["projection"], truth.components_.T / scale)
    note = artifacts.read_provenance(path)["encoder"]
    assert note == {"kind": "linear", "shape": [1, 8, 8], "precision": "float64"}
    assert fitted_encoders.load(arrays, {"encoder": note}).dim == 12


def test_many_values_are_decomposed_by_their_covariance(digits, shards, tmp_path, monkeypatch):
    path = fitted(tmp_path / "a", {"name": "pca", "dim": 12}, **shards)
    monkeypatch.setattr("routing.loading.feature_encoders.pca.MAX_SVD_VALUES", 1000)
    monkeypatch.setattr("routing.loading.feature_encoders.principal_components.by_svd", None)
    other = fitted(tmp_path / "b", {"name": "pca", "dim": 12}, **shards)
    one, two = artifacts.read_arrays(path), artifacts.read_arrays(other)
    np.testing.assert_allclose(two["mean"], one["mean"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(two["projection"], one["projection"], rtol=1e-7, atol=1e-9)


def test_held_out_images_change_nothing(digits, shards, tmp_path):
    stored, train = digits
    spec = {"name": "pca", "dim": 5}
    truth = content(fitted(tmp_path, spec, **shards))
    stored = stored.copy()
    stored[~train] = np.random.default_rng(0).integers(17, size=stored[~train].shape)
    assert content(fitted(tmp_path, spec, **sharded_data(tmp_path / "b", stored, train))) == truth
    stored[np.flatnonzero(train)[0]] = 16
    assert content(fitted(tmp_path, spec, **sharded_data(tmp_path / "c", stored, train))) != truth


def test_shards_change_nothing(digits, shards, tmp_path):
    one = fitted(tmp_path / "a", {"name": "pca", "dim": 5}, **shards)
    other = fitted(tmp_path / "b", {"name": "pca", "dim": 5}, **sharded_data(tmp_path, *digits))
    assert content(one) == content(other)


def test_no_more_than_max_fit_are_seen(digits, shards, tmp_path):
    stored, train = digits
    numbers = subsample(np.flatnonzero(train), 100, seed=7)
    assert len(numbers) == 100 == len(set(numbers)) and train[numbers].all()
    assert (np.diff(numbers) > 0).all()
    assert (subsample(np.flatnonzero(train), 100, seed=8) != numbers).any()
    rng = seeds.stream(7, "encoder")  # one for all encoders
    assert numbers.tolist() == sorted(rng.choice(np.flatnonzero(train), 100, replace=False))
    rows = np.flatnonzero(train)
    assert (
        subsample(rows, len(rows), seed=7) is rows
        and subsample(rows, len(rows) + 1, seed=7) is rows
    )
    assert len(subsample(rows, len(rows) - 1, seed=7)) == len(rows) - 1
    path = fitted(tmp_path / "a", {"name": "pca", "dim": 5, "max_fit": 100}, **shards)
    flat = pixel_values.to_values(stored, LEVELS)[numbers].reshape(100, -1).astype(np.float64)
    assert np.array_equal(artifacts.read_arrays(path)["mean"], flat.mean(0))
    # What is not drawn is not seen.
    stored = stored.copy()
    stored[np.setdiff1d(np.arange(len(stored)), numbers)] = 0
    spec = {"name": "pca", "dim": 5, "max_fit": 100}
    other = fitted(tmp_path, spec, **sharded_data(tmp_path / "b", stored, train))
    assert content(other) == content(path)


def test_the_identity_is_exact_and_small(digits, shards, tmp_path):
    path = fitted(tmp_path, {"name": "identity", "reads": "latents"}, **shards)
    arrays = artifacts.read_arrays(path)
    assert arrays.keys() == {"mean"} and arrays["mean"].shape == (64,)
    encode = fitted_encoders.load(arrays, artifacts.read_provenance(path))
    values = pixel_values.to_values(digits[0], LEVELS)
    assert np.array_equal(encode(values), values.reshape(len(values), 64))
    assert encode.dim == 64 and encode.flop_per_image == 0 and encode.device == "cpu"


def test_latents_are_taken_as_they_are(tmp_path):
    stored = np.random.default_rng(0).normal(size=(40, 4, 2, 2)).astype(np.float16) * 3
    inputs = sharded_data(tmp_path, stored, np.arange(40) < 30, levels=None)
    path = fitted(tmp_path, {"name": "pca", "dim": 3, "reads": "latents"}, **inputs)
    flat = stored[:30].reshape(30, -1).astype(np.float64)
    assert np.array_equal(artifacts.read_arrays(path)["mean"], flat.mean(0))


def test_what_cannot_be_fitted_is_refused(shards, digits, tmp_path):
    for encoder, said in (
        ({"dim": 0}, "encoder: pca wants dim >= 1, got 0"),
        ({"max_fit": 0}, "encoder: pca wants max_fit >= 1, got 0"),
        ({"dim": 65}, "pca wants dim <= 64 here, got 65; lower it"),
        ({"dim": 11, "max_fit": 10}, "pca wants dim <= 10 here, got 11; lower it"),
        ({"dim": 64}, "component 64 has no variance"),  # the corners of all digits are empty
        ({"reads": "pixels"}, "encoder.reads: wanted 'images' or 'latents', got 'pixels'"),
    ):
        with refused(said):
            fitted(tmp_path, {"name": "pca"} | encoder, **shards)
    with refused(
        "encoder: wanted training samples to fit on, got none; lower data.heldout_fraction"
    ):
        none = sharded_data(tmp_path / "none", digits[0], np.zeros(len(digits[0]), bool))
        fitted(tmp_path, {"name": "identity"}, **none)


# Networks.


def reference(resnet, stored):
    """Features by timm alone."""
    import timm
    from safetensors.torch import load_file

    net = timm.create_model(resnet["model"], num_classes=3).eval()
    net.load_state_dict(load_file(resnet["weights"]))
    net.reset_classifier(0)
    x = torch.from_numpy(pixel_values.to_values(stored, LEVELS)).expand(-1, 3, -1, -1)
    x = torch.nn.functional.interpolate((x + 1) / 2, (32, 32), mode="bicubic", antialias=True)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        return net((x - mean) / std).numpy()


def test_a_network_is_noted_and_found_again(digits, few, resnet, tmp_path):
    path = fitted(tmp_path, resnet, **few)
    arrays, notes = artifacts.read_arrays(path), artifacts.read_provenance(path)
    note = notes["encoder"]
    assert not arrays and note["kind"] == "network" and note["dim"] == 512
    assert note["sha256"] == artifacts.check(Path(resnet["weights"])).sha256
    assert note["input_size"] == 32 and note["normalise"] == "none"
    assert note["backbone"]["name"] == "timm" and note["backbone"]["options"] == {"num_classes": 3}
    assert "dim" not in note["backbone"] and "max_fit" not in note["backbone"]
    encode = fitted_encoders.load(arrays, notes)
    found = encode(pixel_values.to_values(digits[0][:90], LEVELS))
    truth = reference(resnet, digits[0][:90])
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-5)
    assert encode.dim == 512 and encode.flop_per_image == note["flop_per_image"] > 1e6


def test_normalised_and_projected_in_this_order(digits, few, resnet, tmp_path):
    stored, train = digits[0][:90], digits[1][:90]
    path = fitted(tmp_path, resnet | {"dim": 4, "normalise": "l2"}, **few)
    arrays, notes = artifacts.read_arrays(path), artifacts.read_provenance(path)
    truth = reference(resnet, stored).astype(np.float64)
    truth /= np.linalg.norm(truth, axis=1, keepdims=True)
    plane = Decomposition(4, svd_solver="full").fit(truth[train])
    encode = fitted_encoders.load(arrays, notes)
    found = encode(pixel_values.to_values(stored, LEVELS))
    scale = np.abs(plane.transform(truth)).max()
    np.testing.assert_allclose(found, plane.transform(truth), atol=2e-3 * scale)
    assert found.dtype == np.float32 and encode.dim == notes["encoder"]["dim"] == 4
    basis = arrays["projection"]  # a rotation: not whitened
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-12)


def test_a_network_fits_on_max_fit(digits, few, resnet, tmp_path):
    train = np.flatnonzero(digits[1][:90])
    path = fitted(tmp_path, resnet | {"dim": 4, "max_fit": 20}, **few)
    truth = reference(resnet, digits[0][subsample(train, 20, seed=7)])
    np.testing.assert_allclose(artifacts.read_arrays(path)["mean"], truth.mean(0), atol=1e-5)


def test_features_of_unit_length(digits, few, resnet, tmp_path):
    path = fitted(tmp_path, resnet | {"normalise": "l2"}, **few)
    encode = fitted_encoders.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
    found = encode(pixel_values.to_values(digits[0][:5], LEVELS))
    truth = reference(resnet, digits[0][:5])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    cosine = (found * truth).sum(1) / np.linalg.norm(truth, axis=1)
    np.testing.assert_allclose(cosine, 1, rtol=1e-5)


def test_what_a_network_cannot_see_is_refused_when_it_is_fitted(resnet, few, tmp_path):
    points = sharded_data(
        tmp_path / "p", np.zeros((9, 2), np.float32), np.arange(9) < 6, levels=None
    )
    with refused("encoder: a network wants images .* got samples of shape .2.; use pca"):
        fitted(tmp_path, resnet, **points)
    latents = np.zeros((9, 4, 8, 8), np.float32)
    with refused("wanted images of 1 or 3 channels, got 4"):
        fitted(
            tmp_path,
            resnet,
            **sharded_data(tmp_path / "l", latents, np.arange(9) < 6, levels=None),
        )
    for options, said in (
        ({"dim": 0}, "encoder: timm wants dim >= 1 or null, got 0"),
        ({"max_fit": 0}, "encoder: timm wants max_fit >= 1, got 0"),
        ({"dim": 513}, "timm wants dim <= .* here, got 513"),
        ({"dim": 21, "max_fit": 20}, "timm wants dim <= 20 here, got 21"),
        ({"normalise": "l1"}, "encoder.normalise: wanted 'none' or 'l2', got 'l1'"),
    ):
        with refused(said):
            fitted(tmp_path, resnet | options, **few)
    with refused("encoder: dinov2: image_size: wanted a multiple of 14, got 100"):
        fitted(tmp_path, {"name": "dinov2", "image_size": 100}, **few)
