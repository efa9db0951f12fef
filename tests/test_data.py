"""The data stage: what is stored is what the source holds, and the split keeps its promises."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from stages import DIGITS, content, refused, run

from routing import data, store
from routing.data import SOURCES, Digits, MixtureSource, split_by_label

WORLD = {
    "name": "mixture",
    "weights": [1.0, 2.0, 3.0, 4.0],
    "means": [[-3.0, 2.0], [2.5, 2.5], [-2.0, -2.5], [3.0, -1.5]],
    "stds": [0.5, 0.7, 0.6, 0.8],
    "num_points": 2000,
}
EXAMPLES = {
    "digits": Digits(),
    "mixture": MixtureSource((0.3, 0.7), ((0.0, 1.0), (2.0, 3.0)), (1.0, 0.5), 100),
}


def test_every_source_is_asked():
    assert EXAMPLES.keys() == SOURCES.keys()


@pytest.mark.parametrize("source", EXAMPLES.values(), ids=EXAMPLES.keys())
def test_a_source_says_all_about_every_sample(source):
    found, again = source.load(3), source.load(3)
    num = len(found.stored)
    assert len(found.labels) == len(found.captions) == len(found.source_ids) == num
    assert len(set(found.source_ids)) == num
    assert np.array_equal(found.stored, again.stored) and found.licence
    assert np.isfinite(found.stored).all() and found.labels.dtype == np.int64


def test_digits_are_stored_as_they_are(tmp_path):
    files = run("data", tmp_path, DIGITS)
    truth, index = load_digits(), store.read_table(files["index"])
    stored = store.read_arrays(files["samples"])["samples"]
    assert stored.shape == (1797, 1, 8, 8) and stored.dtype == np.uint8
    assert np.array_equal(stored[:, 0], truth.images)
    assert stored.min() == 0 and stored.max() == 16
    assert np.array_equal(index["label"], truth.target)
    assert np.array_equal(index["row"], np.arange(1797)) and (index["shard"] == 0).all()
    assert index["caption"][11] == "a handwritten digit 1"
    assert list(index) == [
        *("sample_id", "split", "label", "caption", "licence", "source_id", "shard", "row")
    ]
    for path in files.values():
        note = store.read_provenance(path)
        assert note["licence"] == index["licence"].unique().tolist()
        assert note["visibility"] == "public"
    note = store.read_provenance(files["samples"])
    assert note["levels"] == 16 and note["world"] is None


def test_the_same_seed_gives_the_same_files_and_another_another_split(tmp_path):
    first = run("data", tmp_path / "a", DIGITS)
    again = run("data", tmp_path / "b", DIGITS)
    other = run("data", tmp_path / "c", DIGITS | {"seed": 8})
    assert content(first["index"]) == content(again["index"]) != content(other["index"])
    assert content(first["samples"]) == content(again["samples"]) == content(other["samples"])


@pytest.mark.parametrize("heldout", [0.1, 0.25, 0.5])
def test_the_split_is_stratified(heldout):
    labels = np.repeat([5, 2, 9], [40, 13, 7])
    split = split_by_label(np.random.default_rng(0).permutation(labels), heldout, 1)
    assert set(split) == {"train", "heldout"}
    labels = np.random.default_rng(0).permutation(labels)
    for label, size in ((5, 40), (2, 13), (9, 7)):
        held = (split[labels == label] == "heldout").sum()
        assert abs(held - heldout * size) <= 0.5


def test_the_split_is_random_and_grows_with_heldout():
    labels = np.repeat(np.arange(10), 100)
    small, large = (split_by_label(labels, share, 4) == "heldout" for share in (0.1, 0.3))
    assert small.sum() == 100 and large.sum() == 300
    assert not (small & ~large).any()  # what was held out stays held out
    positions = np.flatnonzero(large) % 100  # within the label: neither the first nor the last
    assert 40 < positions.mean() < 60 and len(np.unique(positions)) > 80


@pytest.mark.parametrize("heldout", [0.0001, 0.9999])
def test_a_split_without_images_is_refused(heldout, tmp_path):
    with refused("data.heldout: wanted a share that leaves both splits some images, got"):
        run("data", tmp_path, DIGITS | {"heldout": heldout})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("weights", "num", "counts"),
    [
        ((1.0, 2.0, 3.0, 4.0), 4000, [400, 800, 1200, 1600]),
        ((0.1, 0.2, 0.3, 0.4), 4000, [400, 800, 1200, 1600]),
        ((1.0, 1.0, 1.0), 11, [4, 4, 3]),  # of equal remainders the first wins
        ((0.5, 0.26, 0.24), 10, [5, 3, 2]),
    ],
)
def test_mixture_counts_are_exact(weights, num, counts):
    means, stds = tuple((float(c), 0.0) for c in range(len(weights))), (1.0,) * len(weights)
    found = MixtureSource(weights, means, stds, num).load(0)
    assert np.bincount(found.labels).tolist() == counts and len(found.stored) == num


def test_mixture_points_have_the_moments_of_their_components(tmp_path):
    files = run("data", tmp_path, {"seed": 1, "source": WORLD, "heldout": 0.5})
    points = store.read_arrays(files["samples"])["samples"]
    labels = store.read_table(files["index"])["label"].to_numpy()
    for c, (mean, std) in enumerate(zip(WORLD["means"], WORLD["stds"], strict=True)):
        mine = points[labels == c].astype(np.float64)
        error = 4 * std / np.sqrt(len(mine))
        assert np.abs(mine.mean(0) - mean).max() < error
        assert np.abs(mine.std(0) - std).max() < error
    note = store.read_provenance(files["samples"])
    assert note["levels"] is None and note["world"] == WORLD and points.dtype == np.float32
    assert not np.array_equal(points, data.MixtureSource(**_tuples(WORLD)).load(2).stored)


def test_components_may_share_labels(tmp_path):
    source = WORLD | {"labels": [7, 3, 7, 5], "num_points": 100}
    files = run("data", tmp_path, {"seed": 1, "source": source, "heldout": 0.2})
    index = store.read_table(files["index"])
    assert np.bincount(index["component"]).tolist() == [10, 20, 30, 40]
    assert np.array_equal(index["label"], np.array([7, 3, 7, 5])[index["component"]])
    assert index["caption"][0] == "label 7" and index["label"].dtype == np.int64
    held = index[index["split"] == "heldout"].groupby("label").size()
    assert dict(held) == {3: 4, 5: 8, 7: 8}
    plain = run("data", tmp_path / "p", {"seed": 1, "source": WORLD, "heldout": 0.2})
    plain = store.read_table(plain["index"])
    assert np.array_equal(plain["component"], plain["label"])


def test_a_mixture_of_odd_parts_is_refused():
    means = ((0.0, 0.0), (1.0, 1.0))
    with refused("mixture wants as many weights as means and stds, got 1, 2 and 2"):
        MixtureSource((1.0,), means, (1.0, 1.0))
    for weights, stds in (((1.0, 0.0), (1.0, 1.0)), ((1.0, 1.0), (1.0, -1.0))):
        with refused("mixture wants components with weights and stds > 0, got"):
            MixtureSource(weights, means, stds)
    with refused("mixture wants components"):
        MixtureSource((), (), ())
    with refused("mixture wants as many labels as weights, got 1 and 2"):
        MixtureSource((1.0, 1.0), means, (1.0, 1.0), labels=(0,))


def _tuples(world):
    options = {k: tuple(v) for k, v in world.items() if k in ("weights", "stds")}
    means = tuple(tuple(m) for m in world["means"])
    return options | {"means": means, "num_points": world["num_points"]}
