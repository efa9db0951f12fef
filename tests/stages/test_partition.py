"""The partition stage: every image in its clusters, whatever the shards, and a true report."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score, silhouette_samples
from stages import content, make, refused

from routing.partitions.membership import memberships
from routing.partitions.registry import METHODS
from routing.stages import partition
from routing.workflow import artifacts, seeds
from routing.workflow.job import Job

OUTPUTS = {
    "assignments": "assignments.parquet",
    "centroids": "centroids.safetensors",
    "report": "report.parquet",
}


def world(folder, points, labels, heldout, num_shards=1, component=None):
    """Inputs of the stage: features in shards, some rows of which no index knows."""
    num = len(points)
    split = np.full(num, "train", dtype=object)
    split[heldout] = "heldout"
    shard = np.sort(np.arange(num) % num_shards)
    row = np.arange(num) - np.searchsorted(shard, shard)
    index = pd.DataFrame({"sample_id": np.arange(num), "split": split, "label": labels})
    index["caption"], index["shard"], index["row"] = "x", shard, row + (shard > 0)
    if component is not None:
        index["component"] = component
    files = []
    for s in range(num_shards):
        x = np.asarray(points, np.float32)[shard == s]
        x = x if s == 0 else np.concatenate([np.full((1, x.shape[1]), 1e6, np.float32), x])
        files.append(make("embed", folder / f"features-{s}.safetensors", {"features": x}))
    return {"index": [make("data", folder / "i.parquet", index)], "features": files}


def divide(folder, inputs, method, num_clusters, like=None, seed=7):
    spec = {"seed": seed, "partition": "p", "method": method, "num_clusters": num_clusters}
    inputs = inputs if like is None else inputs | {"like": [like["assignments"]]}
    outputs = {name: folder / file for name, file in OUTPUTS.items()}
    with Job("partition", inputs, outputs, spec) as job:
        partition.run(job)
    return outputs


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    data = load_digits()
    x = PCA(12, svd_solver="full").fit_transform(data.data / 8 - 1)
    heldout = np.random.default_rng(0).permutation(len(x))[:360]
    component = (data.target + 1) % 4
    folder = tmp_path_factory.mktemp("digits")
    return world(folder, x, data.target, heldout, component=component)


CLUSTERS = 5
EXAMPLES = {
    "kmeans": {"num_clusters": CLUSTERS},
    "balanced_kmeans": {"num_clusters": CLUSTERS, "iterations": 5, "restarts": 2},
    "two_stage": {"num_clusters": CLUSTERS, "num_fine": 40},
    "overlapping": {"num_clusters": CLUSTERS},
    "labels": {"num_clusters": CLUSTERS},
    "random": {"like": "semantic"},
    "random_equal": {"num_clusters": CLUSTERS},
    "components": {"num_clusters": 3, "clusters": [2, 0, 2, 1]},
}
BESIDE = {"balanced_kmeans": {"bias"}, "two_stage": {"fine", "fine_cluster"}}


@pytest.fixture(scope="module")
def found(digits, tmp_path_factory):
    """The outputs of every method, by name."""
    made = {}
    for name, options in EXAMPLES.items():
        method = {"name": name} | options
        like = made["kmeans"] if name == "random" else None
        folder = tmp_path_factory.mktemp(name)
        made[name] = divide(folder, digits, method, options.get("num_clusters", CLUSTERS), like)
    method = {"name": "kmeans", "num_clusters": 1}
    made["monolith"] = divide(tmp_path_factory.mktemp("monolith"), digits, method, 1)
    return made


def parts(inputs):
    index = artifacts.read_table(inputs["index"][0])
    x = [artifacts.read_arrays(path)["features"] for path in inputs["features"]]
    x = np.concatenate([part[s > 0 :] for s, part in enumerate(x)])
    return x.astype(np.float64), (index["split"] == "train").to_numpy(), index["label"].to_numpy()


def clusters_of(files):
    return memberships(artifacts.read_table(files["assignments"]))


def report_of(files):
    table = artifacts.read_table(files["report"])
    return {(q, k): value for q, k, value in table.itertuples(index=False)}


def test_every_method_is_asked():
    assert EXAMPLES.keys() == METHODS.keys()


def test_all_but_random_say_how_many_clusters_they_make():
    named = {n for n, m in METHODS.items() if "num_clusters" in m.__dataclass_fields__}
    assert named == METHODS.keys() - {"random"}


@pytest.mark.parametrize("name", [*EXAMPLES, "monolith"])
def test_the_artifacts_of_every_partition_agree(name, found, digits):
    files = found[name]
    x, train, labels = parts(digits)
    table, arrays = (
        artifacts.read_table(files["assignments"]),
        artifacts.read_arrays(files["centroids"]),
    )
    num, clusters = len(arrays["sizes"]), memberships(table)
    who = ["cluster", "second"] if name == "overlapping" else ["cluster"]
    assert list(table) == ["sample_id", *who, *(f"distance_{k}" for k in range(num))]
    expected = {"centroids", "sizes", "label_counts"} | BESIDE.get(name, set())
    assert arrays.keys() == expected
    assert np.array_equal(table["sample_id"], np.arange(len(labels)))
    assert table["distance_0"].dtype == arrays["centroids"].dtype == np.float32
    assert clusters.dtype == np.int64 and (0 <= clusters).all() and (clusters < num).all()
    assert np.array_equal(arrays["sizes"], np.bincount(clusters[train].ravel(), minlength=num))
    long = pd.DataFrame(
        {"k": clusters[train].ravel(), "label": np.repeat(labels[train], len(who))}
    )
    assert np.array_equal(arrays["label_counts"], pd.crosstab(long["k"], long["label"]))
    distances = np.stack([np.sqrt(((x - c) ** 2).sum(1)) for c in arrays["centroids"]], 1)
    np.testing.assert_allclose(table.filter(like="distance_"), distances, rtol=1e-4)
    if name != "overlapping":  # k-means stops at the means too, when it has converged
        for k in range(num):
            mean = x[train & (clusters[:, 0] == k)].mean(0)
            np.testing.assert_allclose(arrays["centroids"][k], mean, atol=0.1)


@pytest.mark.parametrize("name", ["two_stage", "labels", "random", "random_equal", "components"])
def test_centroids_that_no_rule_brings_are_means_of_the_training_images(name, found, digits):
    x, train, _ = parts(digits)
    clusters = clusters_of(found[name])[:, 0]
    for k, centroid in enumerate(artifacts.read_arrays(found[name]["centroids"])["centroids"]):
        mean = x[train & (clusters == k)].mean(0)
        np.testing.assert_allclose(centroid, mean, rtol=1e-6, atol=1e-7)


def test_every_image_is_at_its_nearest_centroids(found):
    for name, num in {"kmeans": 1, "overlapping": 2}.items():
        table = artifacts.read_table(found[name]["assignments"])
        distances = table.filter(like="distance_").to_numpy()
        own = np.take_along_axis(distances, memberships(table), 1)
        np.testing.assert_allclose(own, np.sort(distances, 1)[:, :num], rtol=1e-5)


def test_overlapping_clusters_are_those_of_kmeans_and_their_mixture_is_the_data(found, digits):
    ours, theirs = clusters_of(found["overlapping"]), clusters_of(found["kmeans"])
    assert np.array_equal(ours[:, :1], theirs) and (ours[:, 0] != ours[:, 1]).all()
    _, train, _ = parts(digits)
    sizes = artifacts.read_arrays(found["overlapping"]["centroids"])["sizes"]
    assert sizes.sum() == 2 * train.sum()
    prior, density = sizes / sizes.sum(), np.zeros(len(train))
    for k, pi in enumerate(prior):  # sum_k pi_k p_k puts the same mass on every training image
        here = train & (ours == k).any(axis=1)
        density += pi * here / here.sum()
    np.testing.assert_allclose(density[train], 1 / train.sum(), rtol=1e-12)


def test_balanced_clusters_are_equal_on_what_was_looked_at_and_nearly_so_on_the_rest(
    found, digits
):
    _, train, _ = parts(digits)
    sizes = artifacts.read_arrays(found["balanced_kmeans"]["centroids"])["sizes"]
    assert sorted(sizes) == [287, 287, 287, 288, 288] and sizes.sum() == train.sum()
    ratio = report_of(found["balanced_kmeans"])
    assert (
        1.0
        < ratio["size_ratio_all", -1]
        < 1.2
        < 1.5
        < report_of(found["kmeans"])["size_ratio_all", -1]
    )


def test_a_stored_rule_assigns_again(found, digits):
    x, _, _ = parts(digits)
    a = artifacts.read_arrays(found["balanced_kmeans"]["centroids"])
    cost = ((x[:, None] - a["centroids"]) ** 2).sum(2) - a["bias"]
    assert np.array_equal(cost.argmin(1), clusters_of(found["balanced_kmeans"])[:, 0])
    a = artifacts.read_arrays(found["two_stage"]["centroids"])
    fine = ((x[:, None] - a["fine"]) ** 2).sum(2).argmin(1)
    assert np.array_equal(a["fine_cluster"][fine], clusters_of(found["two_stage"])[:, 0])


def test_the_monolith_is_a_partition_with_one_cluster(found, digits):
    assert (clusters_of(found["monolith"]) == 0).all()
    _, train, _ = parts(digits)
    assert artifacts.read_arrays(found["monolith"]["centroids"])["sizes"].tolist() == [train.sum()]


@pytest.mark.parametrize("name", ["kmeans", "overlapping"])
def test_the_centroids_kept_are_those_that_assign(name, digits, tmp_path):
    """Those of the few images looked at, after one iteration: not yet the means of their own."""
    options = {"num_clusters": CLUSTERS, "iterations": 1, "restarts": 1, "max_fit": 60}
    files = divide(tmp_path, digits, {"name": name} | options, CLUSTERS)
    clusters, x = clusters_of(files), parts(digits)[0]
    centroids = artifacts.read_arrays(files["centroids"])["centroids"]
    far = ((x[:, None] - centroids) ** 2).sum(2)
    assert np.array_equal(clusters, np.argsort(far, axis=1)[:, : clusters.shape[1]])


def test_centroids_of_pairs_of_clusters_are_means_of_all_their_images(found, digits, tmp_path):
    """A rule that brings none: random clusters, two for each image."""
    method = {"name": "random", "like": "semantic"}
    files = divide(tmp_path, digits, method, CLUSTERS, found["overlapping"])
    x, train, _ = parts(digits)
    clusters, centroids = (
        clusters_of(files),
        artifacts.read_arrays(files["centroids"])["centroids"],
    )
    for k in range(CLUSTERS):
        mine = (clusters == k).any(axis=1) & train
        np.testing.assert_allclose(centroids[k], x[mine].mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("of", ["kmeans", "overlapping"])
def test_random_clusters_have_the_sizes_of_the_others_in_both_splits(of, found, digits, tmp_path):
    _, train, labels = parts(digits)
    method = {"name": "random", "like": "semantic"}
    files = divide(tmp_path, digits, method, CLUSTERS, found[of])
    ours, theirs = clusters_of(files), clusters_of(found[of])
    assert ours.shape == theirs.shape and not np.array_equal(ours, theirs)
    for rows in (train, ~train):  # whole rows: pairs stay together
        assert np.array_equal(np.sort(ours[rows], 0)[:, 0], np.sort(theirs[rows], 0)[:, 0])
        assert sorted(map(tuple, ours[rows])) == sorted(map(tuple, theirs[rows]))
    ours, theirs = ours[:, 0], theirs[:, 0]
    assert chi2_contingency(pd.crosstab(labels, theirs)).pvalue < 1e-100
    assert chi2_contingency(pd.crosstab(labels, ours)).pvalue > 1e-3
    assert chi2_contingency(pd.crosstab(theirs, ours)).pvalue > 1e-3


def test_random_clusters_are_those_they_have_always_been(found, digits):
    _, train, _ = parts(digits)
    rng, expected = seeds.stream(7, "partition", 0), clusters_of(found["kmeans"])[:, 0]
    for rows in (np.flatnonzero(train), np.flatnonzero(~train)):
        expected[rows] = rng.permutation(expected[rows])
    assert np.array_equal(clusters_of(found["random"])[:, 0], expected)


def test_random_equal_clusters_are_equal_in_both_splits(found, digits):
    _, train, labels = parts(digits)
    clusters = clusters_of(found["random_equal"])[:, 0]
    for rows in (train, ~train):
        sizes = np.bincount(clusters[rows], minlength=CLUSTERS)
        assert np.ptp(sizes) <= 1 and (np.diff(sizes) <= 0).all()
    assert chi2_contingency(pd.crosstab(labels, clusters)).pvalue > 1e-3
    assert chi2_contingency(pd.crosstab(np.arange(len(train)) % 5, clusters)).pvalue > 1e-3


def test_components_are_in_the_clusters_they_are_given(found, digits):
    component = artifacts.read_table(digits["index"][0])["component"]
    clusters = clusters_of(found["components"])[:, 0]
    assert np.array_equal(clusters, np.array([2, 0, 2, 1])[component])


def test_labels_are_clusters_in_their_order(digits, tmp_path):
    for group in ("size", "features"):
        method = {"name": "labels", "num_clusters": 10, "group": group}
        files = divide(tmp_path / group, digits, method, 10)
        assert np.array_equal(clusters_of(files)[:, 0], parts(digits)[2])


# Seeds, samples, shards.


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_seed_gives_the_same_partition(name, found, digits, tmp_path):
    method = {"name": name} | EXAMPLES[name]
    like = found["kmeans"] if name == "random" else None
    again = divide(tmp_path, digits, method, EXAMPLES[name].get("num_clusters", CLUSTERS), like)
    assert {n: content(p) for n, p in again.items()} == {
        n: content(p) for n, p in found[name].items()
    }


@pytest.mark.parametrize("name", ["kmeans", "two_stage", "random", "random_equal"])
def test_another_seed_gives_another(name, found, digits, tmp_path):
    method = {"name": name, "seed": 1} | EXAMPLES[name] | {"restarts": 1}
    if name.startswith("random"):
        del method["restarts"]
    like = found["kmeans"] if name == "random" else None
    assert len({
        clusters_of(divide(tmp_path / str(s), digits, method | {"seed": s}, 5, like)).tobytes()
        for s in range(3)
    }) == 3  # fmt: skip
    roots = [divide(tmp_path / f"r{r}", digits, method, 5, like, seed=r) for r in (1, 2)]
    assert not np.array_equal(*map(clusters_of, roots))


@pytest.mark.parametrize("name", EXAMPLES)
def test_shards_and_blocks_change_nothing(name, found, digits, tmp_path, monkeypatch):
    x, train, labels = parts(digits)
    component = artifacts.read_table(digits["index"][0])["component"].to_numpy()
    heldout = np.flatnonzero(~train)
    cut = world(tmp_path, x, labels, heldout, num_shards=3, component=component)
    method, num = {"name": name} | EXAMPLES[name], EXAMPLES[name].get("num_clusters", CLUSTERS)
    like = found["kmeans"] if name == "random" else None
    same = divide(tmp_path / "shards", cut, method, num, like)
    assert {n: content(p) for n, p in same.items()} == {
        n: content(p) for n, p in found[name].items()
    }
    whole = partition.Shards.blocks
    monkeypatch.setattr(partition.Shards, "blocks", lambda self: whole(self, 97))
    small = divide(tmp_path / "blocks", cut, method, num, like)
    assert np.array_equal(clusters_of(small), clusters_of(found[name]))
    ours, theirs = (artifacts.read_table(f["assignments"]) for f in (small, found[name]))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    ours, theirs = report_of(small), report_of(found[name])
    np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-5)


def test_held_out_images_move_no_centroid(found, digits, tmp_path):
    x, train, labels = parts(digits)
    component = artifacts.read_table(digits["index"][0])["component"].to_numpy()
    x[~train] += 50.0
    moved = world(tmp_path, x, labels, np.flatnonzero(~train), component=component)
    for name, options in EXAMPLES.items():
        method, num = {"name": name} | options, options.get("num_clusters", CLUSTERS)
        like = found["kmeans"] if name == "random" else None
        other = divide(tmp_path / name, moved, method, num, like)
        assert content(other["centroids"]) == content(found[name]["centroids"])
        ours, theirs = clusters_of(other), clusters_of(found[name])
        assert np.array_equal(ours[train], theirs[train])


@pytest.mark.parametrize("name", ["kmeans", "balanced_kmeans", "two_stage", "overlapping"])
def test_a_fit_looks_at_no_more_than_it_may(name, digits, tmp_path, monkeypatch):
    x, train, _ = parts(digits)
    looked, take = [], partition.Shards.take

    def spy(self, numbers):
        looked.append(np.asarray(numbers))
        return take(self, numbers)

    monkeypatch.setattr(partition.Shards, "take", spy)
    method = {"name": name} | EXAMPLES[name] | {"max_fit": 300}
    files = divide(tmp_path, digits, method, CLUSTERS)
    fitted = looked[0]
    assert len(np.unique(fitted)) == 300 and (np.diff(fitted) > 0).all() and train[fitted].all()
    assert fitted[0] < 60 and fitted[-1] > len(x) - 60  # of the whole, not the first
    if name == "balanced_kmeans":
        sizes = np.bincount(clusters_of(files)[fitted, 0])
        assert sizes.tolist() == [60] * 5
        assert np.ptp(np.bincount(clusters_of(files)[train, 0])) > 1


@pytest.mark.parametrize("dim", [1, 3, 784])
def test_any_space_will_do(dim, tmp_path):
    """Pixels, latents, one number: k-means asks what the space is of nobody."""
    rng = np.random.default_rng(dim)
    truth = np.repeat([0, 1, 2], 40)
    x = 100.0 * truth[:, None] + rng.normal(size=(120, dim))
    inputs = world(tmp_path, x, truth, [0, 50, 100], num_shards=2)
    for name in ("kmeans", "balanced_kmeans", "two_stage"):
        options = {"num_fine": 6} if name == "two_stage" else {}
        method = {"name": name, "num_clusters": 3} | options
        assert report_of(divide(tmp_path / name, inputs, method, 3))["nmi", -1] == pytest.approx(1)


# The report.


@pytest.mark.parametrize("name", [*EXAMPLES, "monolith"])
def test_reports_say_what_was_made(name, found, digits):
    x, train, labels = parts(digits)
    clusters, table = clusters_of(found[name]), report_of(found[name])
    c = artifacts.read_arrays(found[name]["centroids"])["centroids"].astype(np.float64)
    num, m, truth = len(c), clusters.shape[1], {}
    for k in range(num):
        inside = (clusters == k).any(axis=1)
        for split, rows in {"train": train, "heldout": ~train}.items():
            truth[f"size_{split}", k] = (inside & rows).sum()
            truth[f"prior_{split}", k] = (inside & rows).sum() / (m * rows.sum())
        truth["inertia", k] = ((x[inside & train] - c[k]) ** 2).sum()
        truth["within", k] = truth["inertia", k] / (inside & train).sum()
        truth["purity", k] = np.bincount(labels[inside & train]).max() / (inside & train).sum()
    truth["inertia", -1] = sum(truth["inertia", k] for k in range(num))
    truth["within", -1] = truth["inertia", -1] / (m * train.sum())
    most = [np.bincount(labels[train & (clusters == k).any(axis=1)]).max() for k in range(num)]
    truth["purity", -1] = sum(most) / (m * train.sum())
    truth["nmi", -1] = normalized_mutual_info_score(
        clusters[train].ravel(), np.repeat(labels[train], m)
    )
    for split, rows in {"train": train, "heldout": ~train, "all": train | True}.items():
        n = np.bincount(clusters[rows].ravel(), minlength=num)
        p = n / n.sum()
        truth[f"size_ratio_{split}", -1] = n.max() / n.min()
        truth[f"gini_{split}", -1] = sum(abs(a - b) for a in p for b in p) / (2 * num)
        if num > 1:
            truth[f"evenness_{split}", -1] = -(p * np.log(p)).sum() / np.log(num)
    if num > 1:
        far = np.linalg.norm(c[:, None] - c, axis=2)
        pairs = far[np.triu_indices(num, 1)]
        truth["between_min", -1], truth["between_mean", -1] = pairs.min(), pairs.mean()
        for k in range(num):
            others = np.delete(far[k], k)
            truth["between_min", k], truth["between_mean", k] = others.min(), others.mean()
        values = silhouette_samples(x[train], clusters[train, 0])  # fewer than are looked at
        truth["silhouette", -1] = values.mean()
        truth |= {("silhouette", k): values[clusters[train, 0] == k].mean() for k in range(num)}
    assert table.keys() == truth.keys()
    for key, value in truth.items():
        assert table[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key


def test_what_no_training_image_has_is_not_counted(tmp_path):
    """Without held-out images nothing is said of them; a label that only they have has no row."""
    x = np.repeat(np.eye(2), 10, axis=0) + np.arange(20)[:, None] * 1e-3
    labels, method = np.arange(20) // 10, {"name": "kmeans", "num_clusters": 2}
    table = report_of(divide(tmp_path, world(tmp_path, x, labels, []), method, 2))
    said = {q for q, _ in table}
    assert {"size_heldout", "prior_train", "gini_train", "gini_all"} <= said
    assert not {"prior_heldout", "gini_heldout", "size_ratio_heldout"} & said
    assert [table["size_heldout", k] for k in range(2)] == [0, 0]
    labels[[3, 15]] = [7, -1]
    files = divide(tmp_path, world(tmp_path, x, labels, [3, 15]), method, 2)
    counts = artifacts.read_arrays(files["centroids"])["label_counts"]
    assert sorted(counts.tolist()) == [[0, 9], [9, 0]]


def test_silhouettes_are_of_a_sample_that_no_method_chooses(digits, tmp_path, monkeypatch):
    requested = []
    monkeypatch.setattr(partition, "NUM_SILHOUETTES", 100)
    monkeypatch.setattr(partition, "silhouettes", lambda x, c: requested.append((x, c)))
    _, train, _ = parts(digits)
    for name in ("kmeans", "random_equal"):
        method = {"name": name, "num_clusters": 5}
        table = report_of(divide(tmp_path / name, digits, method, 5))
        assert ("silhouette", -1) not in table
    (x, _), (again, _) = requested
    assert len(x) == 100 and np.array_equal(x, again)
    among = {row.tobytes() for row in parts(digits)[0][train].astype(np.float32)}
    assert all(row.tobytes() in among for row in x)


# What is refused.


def test_more_clusters_than_images_are_refused(tmp_path):
    inputs = world(tmp_path, np.eye(6), np.arange(6), heldout=[4, 5])
    for name in ("kmeans", "balanced_kmeans", "overlapping", "two_stage"):
        message = r"partitions.p.num_clusters: wanted at most 4 \(sampled training images\), got 5"
        with refused(message):
            divide(tmp_path, inputs, {"name": name, "num_clusters": 5}, 5)
    for name in ("kmeans", "balanced_kmeans"):
        files = divide(tmp_path, inputs, {"name": name, "num_clusters": 4}, 4)
        assert artifacts.read_arrays(files["centroids"])["sizes"].tolist() == [1] * 4
    with refused(r"num_clusters: wanted at most 2 \(sampled training images\), got 3"):
        divide(tmp_path, inputs, {"name": "kmeans", "num_clusters": 3, "max_fit": 2}, 3)


def test_an_empty_cluster_is_refused(tmp_path):
    twice = np.repeat(np.eye(2), 10, axis=0)
    with refused("partitions.p: wanted every cluster to hold a training image, got none in"):
        inputs = world(tmp_path, twice, np.zeros(20, int), [])
        divide(tmp_path, inputs, {"name": "kmeans", "num_clusters": 3}, 3)
    inputs = world(tmp_path, np.eye(4), [0, 0, 1, 1], heldout=[2, 3])
    with refused("got none in cluster 1 of 2"):
        divide(tmp_path, inputs, {"name": "labels", "num_clusters": 2}, 2)
    with refused("got none in cluster 2 of 3"):
        divide(tmp_path, inputs, {"name": "random_equal", "num_clusters": 3}, 3)


COUNTS = {
    "kmeans": {"num_clusters": 1, "iterations": 1, "restarts": 1, "max_fit": 1},
    "balanced_kmeans": {"num_clusters": 1, "iterations": 1, "restarts": 1, "max_fit": 1},
    "overlapping": {"num_clusters": 2, "iterations": 1, "restarts": 1, "max_fit": 1},
    "two_stage": {
        "num_clusters": 1, "num_fine": 5, "iterations": 1, "coarse_iterations": 1, "restarts": 1,
        "max_fit": 1,
    },
    "labels": {"num_clusters": 1, "max_fit": 1},
    "random_equal": {"num_clusters": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_wrong_counts_are_refused(name, digits, tmp_path):
    for option, least in COUNTS[name].items():
        method = {"name": name, "num_clusters": CLUSTERS} | {option: least - 1}
        with refused(f"partitions.p: {name} wants {option} >= {least}, got {least - 1}"):
            divide(tmp_path, digits, method, CLUSTERS)


def test_more_than_there_is_is_refused(digits, tmp_path):
    with refused(r"partitions.p.num_clusters: wanted at most 10 \(labels in the data\), got 11"):
        divide(tmp_path, digits, {"name": "labels", "num_clusters": 11}, 11)
    method = {"name": "two_stage", "num_clusters": 5, "num_fine": 360}
    message = r"p.num_fine: wanted at most 359 \(a quarter of the sampled training images\)"
    with refused(message):
        divide(tmp_path, digits, method, 5)
    divide(tmp_path, digits, method | {"num_fine": 359, "iterations": 1}, 5)
    inputs = world(tmp_path, np.eye(6), [0, 0, 1, 1, 2, 2], heldout=[4, 5])
    with refused("p.group: wanted a training image of every label, got none of 2 among 4"):
        method = {"name": "labels", "num_clusters": 2, "group": "features"}
        divide(tmp_path, inputs, method, 2)


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
    num_clusters, clusters, digits, tmp_path
):
    method = {"name": "components", "num_clusters": num_clusters, "clusters": clusters}
    message = rf"partitions.p.clusters: wanted 4 \(components\), each of 0..{num_clusters - 1}"
    with refused(message):
        divide(tmp_path, digits, method, num_clusters)


def test_components_want_a_world_that_has_them(tmp_path):
    inputs = world(tmp_path, np.eye(4), np.arange(4), [3])
    method = {"name": "components", "num_clusters": 2, "clusters": [0, 1]}
    with refused("partitions.p.clusters: wanted data.source 'mixture', got a source without"):
        divide(tmp_path, inputs, method, 2)
