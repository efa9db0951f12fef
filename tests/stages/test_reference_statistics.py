"""The stage reference_statistics: the images that each reference is fitted on, held-out images."""

import numpy as np
import pytest
import torch
from measured import ARMS, CENTROIDS, NUM_REAL, World
from stages import content, refused

from routing.metrics.formulas.frechet_distance import FrechetReference
from routing.metrics.formulas.kernel_distance import KernelReference
from routing.metrics.formulas.precision_recall import NeighbourReference
from routing.stages import reference_statistics
from routing.workflow import artifacts, seeds

LIST = [{"name": "frechet"}, {"name": "kernel"}, {"name": "neighbours", "k_precision": 2}]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, {"good": ARMS["good"]})


def made(world, space="toy", **spec):
    arrays = world.real if space == "toy" else {"features": world.position}
    files = world.reference_statistics(space, arrays, world.inputs(), **spec)
    return files, *(artifacts.read_arrays(files[name]) for name in ("references", "heldout"))


def nearest(world):
    return np.linalg.norm(world.position[:, None] - CENTROIDS, axis=-1).argmin(1)


def train(world):
    return torch.from_numpy(world.real["features"][world.is_train]).double()


def test_references_are_those_of_the_mathematics(world):
    _, found, _ = made(world, list=LIST)
    y = train(world)
    np.testing.assert_allclose(found["FrechetReference/mean"], FrechetReference.fit(y).mean)
    root = torch.from_numpy(found["FrechetReference/root"])
    torch.testing.assert_close(root @ root.T, torch.cov(y.T))
    within = KernelReference.fit(y).within
    assert found["KernelReference/within"] == pytest.approx(within.item(), rel=1e-12)
    near = NeighbourReference.fit(y, 2, 5)
    np.testing.assert_array_equal(
        found["NeighbourReference-2-5/precision_radius"], near.precision_radius
    )
    assert found["NeighbourReference-2-5/k_precision"] == 2
    assert "NeighbourReference-2-5/points" not in found  # they are there once
    np.testing.assert_array_equal(found["points"], world.real["features"][world.is_train])


def test_metrics_of_one_reference_share_it(world):
    _, found, _ = made(
        world,
        list=[*LIST, *({"name": n} for n in ("frechet_infinity", "cluster_recall", "agreement"))],
    )
    keys = {name.split("/")[0] for name in found if "/" in name}
    assert keys == {
        "FrechetReference",
        "KernelReference",
        "NeighbourReference-2-5",
        "NeighbourReference-3-5",
    }


def test_few_points_for_pairs_but_all_images_for_moments(world, monkeypatch):
    monkeypatch.setattr(reference_statistics, "BLOCK", 9)
    files, few, _ = made(world, list=LIST, num_references=20)
    kept = few["points"]
    rows = [np.flatnonzero((world.real["features"] == p).all(1)).item() for p in kept]
    assert len(rows) == 20 == len(set(rows)) and sorted(rows) == rows
    rng = seeds.stream(7, "references")
    assert rows == sorted(rng.choice(np.flatnonzero(world.is_train), 20, replace=False))
    np.testing.assert_allclose(few["FrechetReference/mean"], train(world).mean(0))
    position = artifacts.read_arrays(
        world.reference_statistics(
            "position", {"features": world.position}, world.inputs(), num_references=20
        )["references"]
    )
    np.testing.assert_array_equal(
        position["points"], world.position[rows]
    )  # the same in every space
    np.testing.assert_array_equal(
        few["point_clusters"],
        nearest(world)[rows],
    )
    _, all_of_them, _ = made(world, list=LIST, num_references=NUM_REAL)
    assert len(all_of_them["points"]) == world.is_train.sum()


def test_shares_are_those_of_all_training_images(world):
    _, found, _ = made(world, num_references=10)
    labels = np.searchsorted([4, 5, 9], world.labels[world.is_train])
    np.testing.assert_allclose(found["class_shares"], np.bincount(labels) / len(labels))
    near = nearest(world)[world.is_train]
    np.testing.assert_allclose(found["cluster_shares"], np.bincount(near) / len(near))
    assert artifacts.read_provenance(made(world)[0]["references"])["class_names"] == [
        "4",
        "5",
        "9",
    ]


def test_a_class_without_training_images_has_no_share(world):
    world.is_train &= world.labels != 9
    shares = made(world)[1]["class_shares"]
    assert len(shares) == 3 and shares[2] == 0 and shares.sum() == pytest.approx(1)


def test_clusters_are_fitted_on_the_points_that_were_drawn_but_all_images_are_searched(world):
    chosen = [{"name": "cluster_frechet"}, {"name": "copies"}]
    _, found, unseen = made(world, list=chosen, num_references=40)
    x, clusters = found["points"].astype(np.float64), found["point_clusters"]
    for k in range(3):
        mean = x[clusters == k].mean(0)
        np.testing.assert_allclose(found["ClusterFrechetReference/mean"][k], mean, rtol=1e-6)
    y, x = train(world).numpy(), unseen["features"].astype(np.float64)
    distance = np.linalg.norm(x[:, None] - y, axis=-1).min(1)
    np.testing.assert_allclose(found["CopyReference/heldout_distance"], distance, rtol=1e-6)


def test_held_out_images_look_like_an_arm(world):
    _, _, unseen = made(world)
    assert set(unseen) == {"features", "logits", "requested", "prompts"}
    rows = unseen["prompts"][:, 0]
    assert not world.is_train[rows].any() and len(rows) == 24  # 8 blocks
    np.testing.assert_array_equal(unseen["features"], world.real["features"][rows])
    np.testing.assert_array_equal(unseen["logits"], world.real["logits"][rows])
    assert (np.array([4, 5, 9])[unseen["requested"][:, 0]] == world.labels[rows]).all()
    few = made(world, num_samples=16)[2]
    np.testing.assert_array_equal(few["prompts"], unseen["prompts"][:16])


def test_twice_the_same(world):
    one, two = (content(made(world, list=LIST, num_references=20)[0]["references"]) for _ in "ab")
    assert one == two


def test_features_that_are_not_finite_are_refused(world):
    train = np.flatnonzero(world.is_train)
    rows = seeds.stream(7, "references").choice(train, 10, replace=False)
    world.real["features"][np.setdiff1d(train, rows)[-1], 0] = np.inf
    with refused("real-toy.safetensors: wanted finite features, got nan or inf in 1 of"):
        made(world, list=LIST)
    made(world, num_references=10)  # it is none of these; but moments are of all
    with refused("real-toy.safetensors: wanted finite features, got nan or inf in 1 of"):
        made(world, list=LIST[:1], num_references=10)


def test_a_cluster_of_one_image_has_no_covariance(world):
    world.position[:] = np.array([0.0, 0])
    one = np.flatnonzero(world.is_train)[3]
    world.position[one] = CENTROIDS[1]
    for name in ("cluster_frechet", "cluster_kernel"):
        world.position[one] = CENTROIDS[1]
        message = f"^feature space .toy., metric .{name}.: wanted at least 2 .* got 1 in cluster"
        with refused(message):
            made(world, list=[{"name": name}])
        world.position[one] = 0
        with refused(f"metric .{name}.: wanted at least 2 training images in every cluster"):
            made(world, list=[{"name": name}])
