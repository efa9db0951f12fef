"""The partition stage: clusters of the train images, and everyone at the right place."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency
from sklearn.cluster import KMeans as Reference
from stages import DIGITS, content, make, refused, run
from test_data import WORLD

from routing import store
from routing.partition import METHODS

METHOD = {"name": "kmeans", "num_clusters": 5}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    files = run("data", folder, DIGITS)
    encoder = {"seed": 7, "encoder": {"name": "pca", "dim": 12}}
    embedded = run("embed", folder, encoder, **files)
    return {"index": files["index"], "features": embedded["features"]}


def divide(folder, inputs, method, num_clusters, name="p"):
    spec = {"seed": 7, "partition": name, "method": method, "num_clusters": num_clusters}
    return run("partition", folder, spec, **inputs)


@pytest.fixture(scope="module")
def semantic(inputs, tmp_path_factory):
    return divide(tmp_path_factory.mktemp("semantic"), inputs, METHOD, 5)


@pytest.fixture(scope="module")
def shuffled(inputs, semantic, tmp_path_factory):
    like = inputs | {"like": semantic["assignments"]}
    folder = tmp_path_factory.mktemp("random")
    return divide(folder, like, {"name": "random", "like": "semantic"}, 5)


@pytest.fixture(scope="module")
def by_label(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    return divide(folder, inputs, {"name": "labels", "num_clusters": 10}, 10)


@pytest.fixture(scope="module")
def monolith(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("monolith")
    return divide(folder, inputs, METHOD | {"num_clusters": 1}, 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Points of four components, two of which share a label."""
    folder = tmp_path_factory.mktemp("world")
    source = WORLD | {"labels": [0, 1, 2, 1]}
    files = run("data", folder, {"seed": 7, "source": source, "heldout": 0.25})
    embedded = run("embed", folder, {"seed": 7, "encoder": {"name": "identity"}}, **files)
    return {"index": files["index"], "features": embedded["features"]}


@pytest.fixture(scope="module")
def by_component(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("components")
    method = {"name": "components", "num_clusters": 3, "clusters": [2, 0, 2, 1]}
    return divide(folder, world, method, 3)


def parts(inputs):
    features = store.read_arrays(inputs["features"])["features"].astype(np.float64)
    index = store.read_table(inputs["index"])
    return features, (index["split"] == "train").to_numpy(), index["label"].to_numpy()


def clusters_of(files):
    return store.read_table(files["assignments"])["cluster"].to_numpy()


EXAMPLES = {
    "kmeans": "semantic",
    "random": "shuffled",
    "labels": "by_label",
    "components": "by_component",
}


def test_every_method_is_asked():
    assert EXAMPLES.keys() == METHODS.keys()


@pytest.mark.parametrize("fixture", [*EXAMPLES.values(), "monolith"])
def test_the_artifacts_of_every_partition_agree(fixture, inputs, world, request):
    files = request.getfixturevalue(fixture)
    features, train, labels = parts(world if fixture == "by_component" else inputs)
    table, arrays = store.read_table(files["assignments"]), store.read_arrays(files["centroids"])
    num = len(arrays["sizes"])
    assert list(table) == ["sample_id", "cluster", *(f"distance_{k}" for k in range(num))]
    assert np.array_equal(table["sample_id"], np.arange(len(labels)))
    assert table["cluster"].between(0, num - 1).all()
    assert np.array_equal(arrays["sizes"], np.bincount(table["cluster"][train], minlength=num))
    counts = pd.crosstab(table["cluster"][train], labels[train])
    assert np.array_equal(arrays["label_counts"], counts)
    distances = np.stack([np.sqrt(((features - c) ** 2).sum(1)) for c in arrays["centroids"]], 1)
    np.testing.assert_allclose(table.iloc[:, 2:], distances, rtol=1e-4)
    for k in range(num):  # k-means stops at the means too, when it has converged
        mean = features[train & (table["cluster"] == k)].mean(0)
        np.testing.assert_allclose(arrays["centroids"][k], mean, atol=0.02)


def test_inertia_is_that_of_scikit_learn(inputs, semantic):
    features, train, _ = parts(inputs)
    truth = Reference(5, n_init=5, random_state=0).fit(features[train]).inertia_
    table = store.read_table(semantic["assignments"])
    own = np.take_along_axis(table.iloc[:, 2:].to_numpy(), clusters_of(semantic)[:, None], 1)
    assert (own[train] ** 2).sum() < 1.02 * truth


def test_every_sample_is_at_its_nearest_centroid(semantic):
    distances = store.read_table(semantic["assignments"]).iloc[:, 2:].to_numpy()
    own = np.take_along_axis(distances, clusters_of(semantic)[:, None], 1)[:, 0]
    assert (own <= distances.min(1) * (1 + 1e-5)).all()


def test_the_monolith_is_a_partition_with_one_cluster(inputs, monolith):
    assert (clusters_of(monolith) == 0).all()
    _, train, _ = parts(inputs)
    assert store.read_arrays(monolith["centroids"])["sizes"].tolist() == [train.sum()]


def test_random_clusters_have_the_sizes_of_the_others_in_both_splits(inputs, semantic, shuffled):
    _, train, labels = parts(inputs)
    ours, theirs = clusters_of(shuffled), clusters_of(semantic)
    assert not np.array_equal(ours, theirs)
    for rows in (train, ~train):
        assert np.array_equal(np.bincount(ours[rows]), np.bincount(theirs[rows]))
    assert chi2_contingency(pd.crosstab(labels, theirs)).pvalue < 1e-100
    assert chi2_contingency(pd.crosstab(labels, ours)).pvalue > 1e-3
    assert chi2_contingency(pd.crosstab(theirs, ours)).pvalue > 1e-3


def test_labels_are_clusters_in_their_order(inputs, by_label):
    assert np.array_equal(clusters_of(by_label), parts(inputs)[2])


def test_components_are_in_the_clusters_they_are_given(world, by_component):
    component = store.read_table(world["index"])["component"]
    assert np.array_equal(clusters_of(by_component), np.array([2, 0, 2, 1])[component])


@pytest.mark.parametrize(
    ("num_clusters", "clusters"),
    [
        (2, [0, 1, 0]),
        (2, [0, 1, 0, 1, 0]),
        (3, [0, 1, 0, 1]),
        (2, [0, 1, 2, 1]),
        (2, [0, 1, -1, 1]),
    ],
)
def test_clusters_that_are_not_those_of_the_components_are_refused(
    num_clusters, clusters, world, tmp_path
):
    method = {"name": "components", "num_clusters": num_clusters, "clusters": clusters}
    message = rf"partitions.p.clusters: wanted 4 \(components\), each of 0..{num_clusters - 1}"
    with refused(message):
        divide(tmp_path, world, method, num_clusters)


def test_components_want_a_world_that_has_them(inputs, tmp_path):
    method = {"name": "components", "num_clusters": 2, "clusters": [0, 1]}
    with refused("partitions.p.clusters: wanted data.source 'mixture', got a source without"):
        divide(tmp_path, inputs, method, 2)


def test_the_same_seed_gives_the_same_partition_and_another_another(
    inputs, semantic, shuffled, tmp_path
):
    again = divide(tmp_path / "a", inputs, METHOD, 5)
    assert {n: content(p) for n, p in again.items()} == {
        n: content(p) for n, p in semantic.items()
    }
    like = inputs | {"like": semantic["assignments"]}
    method = {"name": "random", "like": "semantic"}
    again = divide(tmp_path / "b", like, method, 5)
    other = divide(tmp_path / "c", like, method | {"seed": 1}, 5)
    assert np.array_equal(clusters_of(again), clusters_of(shuffled))
    assert not np.array_equal(clusters_of(other), clusters_of(shuffled))


def test_held_out_images_move_no_centroid(inputs, semantic, tmp_path):
    features, train, _ = parts(inputs)
    features[~train] += 50.0
    path = tmp_path / "f.safetensors"
    moved = inputs | {"features": make("embed", path, {"features": features.astype(np.float32)})}
    found = divide(tmp_path, moved, METHOD, 5)
    assert content(found["centroids"]) == content(semantic["centroids"])
    assert np.array_equal(clusters_of(found)[train], clusters_of(semantic)[train])


def small(folder, points, labels, heldout=()):
    split = np.full(len(points), "train", dtype=object)
    split[list(heldout)] = "heldout"
    index = pd.DataFrame({"sample_id": range(len(points)), "split": split, "label": labels})
    features = {"features": np.asarray(points, np.float32)}
    return {
        "index": make("data", folder / "i.parquet", index),
        "features": make("embed", folder / "f.safetensors", features),
    }


def test_more_clusters_than_images_are_refused(tmp_path):
    inputs = small(tmp_path, np.eye(6), np.arange(6), heldout=[4, 5])
    message = r"partitions.p.num_clusters: wanted at most 4 \(training images\), got 5"
    with refused(message):
        divide(tmp_path, inputs, METHOD, 5)
    assert (
        len(
            store.read_arrays(
                divide(tmp_path, inputs, METHOD | {"num_clusters": 4}, 4)["centroids"]
            )["sizes"]
        )
        == 4
    )


def test_an_empty_cluster_is_refused(tmp_path):
    twice = np.repeat(np.eye(2), 10, axis=0)
    with refused("partitions.p: wanted every cluster to hold a training image, got none in"):
        divide(tmp_path, small(tmp_path, twice, np.zeros(20)), METHOD | {"num_clusters": 3}, 3)
    inputs = small(tmp_path, np.eye(4), [0, 0, 1, 1], heldout=[2, 3])
    with refused("got none in cluster 1 of 2"):
        divide(tmp_path, inputs, {"name": "labels", "num_clusters": 2}, 2)


def test_wrong_counts_are_refused(inputs, tmp_path):
    with refused(r"partitions.p.num_clusters: wanted 10 \(labels in the data\), got 9"):
        divide(tmp_path, inputs, {"name": "labels", "num_clusters": 9}, 9)
    for name in ("num_clusters", "iterations", "restarts"):
        with refused(f"partitions.p: kmeans wants {name} >= 1, got 0"):
            divide(tmp_path, inputs, METHOD | {name: 0}, 5)
