"""The stage classifier: accuracy on digits, reproducible features, random shifts."""

import numpy as np
import pytest
import torch
from stages import DIGITS, content, make_data, read, refused, run

from routing.networks.classifier import Classifier, ClassifierShape, logits_and_features
from routing.stages.classifier import CLASSIFIERS, random_shift
from routing.workflow import artifacts

KIND = {"name": "classifier", "width": 8, "dim": 16, "batch_size": 64}


def spec(kind):
    return {"seed": 7, "classifier_name": "digits", "classifier": kind}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return read(tmp_path_factory.mktemp("data"), DIGITS)


def load(files):
    note = artifacts.read_provenance(files["weights"])["model"]
    shape = ClassifierShape(**{k: v for k, v in note.items() if k != "name"})
    return Classifier.from_arrays(shape, artifacts.read_arrays(files["weights"]))


def test_the_table_has_one_kind():
    assert CLASSIFIERS.keys() == {"classifier"}


def test_a_short_training_sees_the_held_out_digits(digits, tmp_path):
    files = run(
        "classifier", tmp_path, spec(KIND | {"steps": 300, "learning_rate": 5e-3}), **digits
    )
    report = artifacts.read_table(files["report"])
    assert report["num_images"][0] == 359 and report["accuracy"][0] >= 0.95
    note = artifacts.read_provenance(files["weights"])
    assert note["labels"] == list(range(10)) and note["model"]["num_classes"] == 10
    stored = artifacts.read_arrays(digits["samples"])["samples"]
    index = artifacts.read_table(digits["index"])
    held = (index["split"] == "heldout").to_numpy()
    x = torch.from_numpy(stored[held] / np.float32(8) - 1)
    logits, features = logits_and_features(load(files), x)
    right = logits.argmax(1).numpy() == index["label"][held]
    assert right.mean() == pytest.approx(report["accuracy"][0])
    assert features.shape == (359, 16) and features.min() == 0
    assert not list(tmp_path.glob("*.state"))


def test_training_twice_gives_the_same_and_never_sees_held_out_images(digits, tmp_path):
    stored = artifacts.read_arrays(digits["samples"])["samples"].copy()
    index = artifacts.read_table(digits["index"])
    train, labels = (index["split"] == "train").to_numpy(), index["label"].to_numpy()
    stored[~train] = 16 - stored[~train]
    made = make_data(tmp_path, stored, train, labels=labels, levels=16)
    inputs = {"samples": made["samples"], "index": made["index"]}
    short = spec(KIND | {"steps": 5})
    first = run("classifier", tmp_path / "a", short, **digits)
    again = run("classifier", tmp_path / "b", short, **digits)
    other = run("classifier", tmp_path / "c", short, **inputs)
    assert content(first["weights"]) == content(again["weights"]) == content(other["weights"])
    assert content(first["loss"]) == content(other["loss"])


def test_labels_may_be_any_numbers(tmp_path):
    labels = np.repeat([30, 10, 20], 4)
    stored = np.random.default_rng(0).integers(17, size=(12, 1, 4, 4)).astype(np.uint8)
    made = make_data(tmp_path, stored, np.arange(12) % 4 > 0, labels=labels, levels=16)
    inputs = {"samples": made["samples"], "index": made["index"]}
    files = run("classifier", tmp_path, spec(KIND | {"steps": 2}), **inputs)
    assert artifacts.read_provenance(files["weights"])["labels"] == [10, 20, 30]


def test_points_are_refused(tmp_path):
    made = make_data(tmp_path, np.zeros((4, 2), np.float32), np.arange(4) < 3)
    with refused(r"classifiers.digits: a classifier wants square images .* of shape \[2\]"):
        run("classifier", tmp_path, spec(KIND), samples=made["samples"], index=made["index"])


@pytest.mark.parametrize("pixels", [0, 1, 2])
def test_a_shift_is_a_roll_filled_with_background(pixels, rng):
    x = torch.rand(300, 2, 5, 5, generator=rng)
    found = random_shift(x, pixels, np.random.default_rng(4))
    moves = np.random.default_rng(4).integers(2 * pixels + 1, size=(2, 300))
    for image, moved, down, right in zip(x, found, *(pixels - moves), strict=True):
        expected = torch.full_like(image, -1.0)
        for i in range(5):
            for j in range(5):
                if 0 <= i - down < 5 and 0 <= j - right < 5:
                    expected[:, i, j] = image[:, i - down, j - right]
        assert torch.equal(moved, expected)
    assert len(np.unique(moves, axis=1).T) == (2 * pixels + 1) ** 2


def test_features_do_not_see_the_batch(rng):
    torch.manual_seed(0)
    net = Classifier(ClassifierShape(channels=1, size=8, width=4, dim=6, num_classes=3))
    x = torch.randn(11, 1, 8, 8, generator=rng)
    whole, pieces = logits_and_features(net, x), logits_and_features(net, x, batch_size=4)
    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(net.head(whole[1]), whole[0])
    assert whole[1].min() >= 0 and whole[0].shape == (11, 3)
