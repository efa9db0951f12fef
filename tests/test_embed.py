"""The embed stage: whitened components, fitted on the train split and on nothing else."""

import numpy as np
import pytest
from sklearn.decomposition import PCA as Decomposition
from stages import DIGITS, content, make_data, refused, run

from routing import images, store
from routing.embed import ENCODERS, PCA, Identity
from routing.encoders import encode

SPEC = {"seed": 7, "encoder": {"name": "pca", "dim": 12}}
EXAMPLES = {"pca": PCA(3), "identity": Identity()}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return run("data", tmp_path_factory.mktemp("data"), DIGITS)


@pytest.fixture(scope="module")
def embedded(digits, tmp_path_factory):
    return run("embed", tmp_path_factory.mktemp("embed"), SPEC, **digits)


def parts(digits):
    stored = store.read_arrays(digits["samples"])["samples"]
    train = (store.read_table(digits["index"])["split"] == "train").to_numpy()
    return stored, train


def test_every_encoder_is_asked():
    assert EXAMPLES.keys() == ENCODERS.keys()


@pytest.mark.parametrize("encoder", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_sample_is_encoded_alone(encoder):
    values = np.random.default_rng(0).normal(size=(20, 1, 2, 3)).astype(np.float32)
    arrays = encoder.fit(values)
    alone = np.concatenate([encode(arrays, v[None]) for v in values])
    np.testing.assert_allclose(encode(arrays, values), alone, rtol=1e-5, atol=1e-6)
    assert alone.dtype == np.float32


def test_train_features_are_white(digits, embedded):
    features = store.read_arrays(embedded["features"])["features"].astype(np.float64)
    _, train = parts(digits)
    assert features.shape == (1797, 12)
    np.testing.assert_allclose(features[train].mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(features[train].T), np.eye(12), atol=1e-4)


def test_features_are_those_of_scikit_learn_up_to_sign(digits, embedded):
    stored, train = parts(digits)
    flat = images.to_values(stored, 16).reshape(1797, -1).astype(np.float64)
    truth = Decomposition(12, whiten=True, svd_solver="full").fit(flat[train]).transform(flat)
    found = store.read_arrays(embedded["features"])["features"]
    signs = np.sign((truth * found).sum(0))
    np.testing.assert_allclose(found, truth * signs, atol=1e-4)


def test_the_encoder_artifact_gives_the_features(digits, embedded):
    stored, _ = parts(digits)
    arrays = store.read_arrays(embedded["encoder"])
    found = encode(arrays, images.to_values(stored, 16))
    assert np.array_equal(found, store.read_arrays(embedded["features"])["features"])


def test_held_out_images_change_nothing(digits, embedded, tmp_path):
    stored, train = parts(digits)
    stored = stored.copy()
    stored[~train] = np.random.default_rng(0).integers(17, size=stored[~train].shape)
    changed = run("embed", tmp_path, SPEC, **made(tmp_path, stored, train))
    assert content(changed["encoder"]) == content(embedded["encoder"])
    stored[np.flatnonzero(train)[0]] = 16
    changed = run("embed", tmp_path, SPEC, **made(tmp_path, stored, train))
    assert content(changed["encoder"]) != content(embedded["encoder"])


def test_the_identity_gives_the_values(digits, tmp_path):
    files = run("embed", tmp_path, {"seed": 7, "encoder": {"name": "identity"}}, **digits)
    stored, _ = parts(digits)
    values = images.to_values(stored, 16).reshape(1797, 64)
    assert np.array_equal(store.read_arrays(files["features"])["features"], values)


def test_what_cannot_be_whitened_is_refused(digits, tmp_path):
    with refused("encoder: pca wants dim >= 1, got 0"):
        run("embed", tmp_path, {"seed": 7, "encoder": {"name": "pca", "dim": 0}}, **digits)
    with refused("pca wants dim <= 64 here, got 65"):
        run("embed", tmp_path, {"seed": 7, "encoder": {"name": "pca", "dim": 65}}, **digits)
    with refused("component 64 has no variance"):  # the corners of all digits are empty
        run("embed", tmp_path, {"seed": 7, "encoder": {"name": "pca", "dim": 64}}, **digits)


def made(folder, stored, train):
    files = make_data(folder, stored, train, levels=16)
    return {"samples": files["samples"], "index": files["index"]}
