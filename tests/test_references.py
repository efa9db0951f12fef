"""The references stage: which images each part of a reference sees, and what is held out."""

import numpy as np
import pytest
import torch
from measured import ARMS, NUM_REAL, World
from stages import content, refused

from routing import store
from routing.frechet import FrechetReference
from routing.kernel import KernelReference
from routing.neighbours import NeighbourReference

LIST = [{"name": "frechet"}, {"name": "kernel"}, {"name": "neighbours", "k_precision": 2}]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, {"good": ARMS["good"]})


def made(world, space="toy", **spec):
    arrays = world.real if space == "toy" else {"features": world.place}
    files = world.references(space, arrays, world.inputs(), **spec)
    return files, *(store.read_arrays(files[name]) for name in ("references", "heldout"))


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
    np.testing.assert_array_equal(found["points"], world.real["features"][world.is_train])


def test_metrics_of_one_reference_share_it(world):
    _, found, _ = made(
        world, list=[*LIST, {"name": "frechet_infinity"}, {"name": "cluster_recall"}]
    )
    keys = {name.split("/")[0] for name in found if "/" in name}
    assert keys == {
        "FrechetReference",
        "KernelReference",
        "NeighbourReference-2-5",
        "NeighbourReference-3-5",
    }


def test_few_points_for_pairs_but_all_images_for_moments(world):
    files, few, _ = made(world, list=LIST, num_references=20)
    kept = few["points"]
    rows = [np.flatnonzero((world.real["features"] == p).all(1)).item() for p in kept]
    assert len(rows) == 20 == len(set(rows)) and sorted(rows) == rows
    assert world.is_train[rows].all()
    np.testing.assert_allclose(few["FrechetReference/mean"], train(world).mean(0))
    place = store.read_arrays(
        world.references("place", {"features": world.place}, world.inputs(), num_references=20)[
            "references"
        ]
    )
    np.testing.assert_array_equal(place["points"], world.place[rows])  # the same in every space
    np.testing.assert_array_equal(
        few["point_clusters"],
        np.linalg.norm(
            world.place[rows][:, None] - np.array([[0.0, 0], [6, 0], [0, 6]]), axis=-1
        ).argmin(1),
    )
    _, all_of_them, _ = made(world, list=LIST, num_references=NUM_REAL)
    assert len(all_of_them["points"]) == world.is_train.sum()


def test_shares_are_those_of_all_training_images(world):
    _, found, _ = made(world, num_references=10)
    labels = np.searchsorted([4, 5, 9], world.labels[world.is_train])
    np.testing.assert_allclose(found["class_shares"], np.bincount(labels) / len(labels))
    assert found["cluster_shares"].sum() == pytest.approx(1)
    assert store.read_provenance(made(world)[0]["references"])["class_names"] == ["4", "5", "9"]


def test_held_out_images_look_like_an_arm(world):
    _, _, unseen = made(world)
    assert set(unseen) == {"features", "logits", "asked", "prompts"}
    rows = unseen["prompts"][:, 0]
    assert not world.is_train[rows].any() and len(rows) == 24  # 8 blocks
    np.testing.assert_array_equal(unseen["features"], world.real["features"][rows])
    np.testing.assert_array_equal(unseen["logits"], world.real["logits"][rows])
    assert (np.array([4, 5, 9])[unseen["asked"][:, 0]] == world.labels[rows]).all()
    few = made(world, num_samples=16)[2]
    np.testing.assert_array_equal(few["prompts"], unseen["prompts"][:16])


def test_twice_the_same(world):
    one, two = (content(made(world, list=LIST, num_references=20)[0]["references"]) for _ in "ab")
    assert one == two


def test_features_that_are_not_finite_are_refused(world):
    world.real["features"][np.flatnonzero(world.is_train)[-1], 0] = np.inf
    with refused("real-toy.safetensors: wanted finite features, got nan or inf in 1 of"):
        made(world, list=LIST)


def test_a_cluster_of_one_image_has_no_covariance(world):
    world.place[:] = np.array([0.0, 0])
    with refused("cluster_frechet: wanted at least 2 training images in every cluster"):
        made(world, list=[{"name": "cluster_frechet"}])
