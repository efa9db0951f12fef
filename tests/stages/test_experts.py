"""The experts stage: what is learned is the velocity, from the cluster's train images alone."""

import numpy as np
import pytest
import torch
from stages import WORLD, content, make_data, read, refused, run

from routing.data import conditioners
from routing.flow.conditions import ConditionedNetwork
from routing.flow.exact_worlds import GaussianMixture
from routing.flow.samplers import Euler
from routing.loading import arms, models
from routing.networks.dit import DiT
from routing.stages import experts
from routing.stages.experts import EXPERTS, Exact, Transformer
from routing.training import loop as training
from routing.training.batches import noise_batch
from routing.workflow import artifacts, seeds

TINY = {"name": "transformer", "width": 16, "depth": 1, "num_heads": 2, "warmup_steps": 3}
SHORT = TINY | {"steps": 6, "total_batch": 12}
EXACT = {"name": "exact"}


def spec(expert, cluster=0, num_experts=1, partition="p", seed=7, training=0, condition="none"):
    parts = {"cluster": cluster, "num_experts": num_experts, "partition": partition}
    return {
        "seed": seed,
        "expert": expert,
        "training_seed": training,
        "condition": condition,
    } | parts


@pytest.fixture
def inputs(tmp_path):
    """Nine images of 4 x 4 in three clusters, two of the train split in each."""
    stored = np.random.default_rng(0).integers(17, size=(9, 1, 4, 4)).astype(np.uint8)
    clusters = np.arange(9) % 3
    return make_data(tmp_path, stored, np.arange(9) < 6, clusters=clusters, levels=16)


def test_the_table_is_the_two_kinds():
    assert EXPERTS == {"transformer": Transformer, "exact": Exact}


def test_the_first_loss_is_that_of_a_network_that_says_nothing(inputs, tmp_path):
    # A fresh DiT says 0, so the loss of step 1 is the mean of (eps - x_0)^2 over its batch.
    files = run("experts", tmp_path, spec(SHORT, cluster=2, num_experts=3), **inputs)
    rng = seeds.stream(7, "batches", seeds.name_to_int("p"), 2, 0, 0)
    rows = rng.integers(2, size=4)
    rng.random(4, np.float32)
    eps = rng.standard_normal((4, 1, 4, 4), np.float32)
    x0 = artifacts.read_arrays(inputs["samples"])["samples"][[2, 5]][rows] / 8 - 1
    loss = artifacts.read_table(files["loss"])["loss"][0]
    assert loss == pytest.approx(((eps - x0) ** 2).mean(), rel=1e-5)
    note = artifacts.read_provenance(files["weights"])
    assert note["levels"] == 16 and note["autoencoder"] is None and note["model"]["name"] == "dit"
    assert note["model"]["image_size"] == 4 and note["model"]["width"] == 16


def test_an_expert_of_one_image_draws_this_image(tmp_path):
    image = np.random.default_rng(3).integers(17, size=(1, 1, 4, 4)).astype(np.uint8)
    inputs = make_data(tmp_path, image.repeat(2, 0), [True, False], levels=16)
    kind = TINY | {"steps": 250, "total_batch": 32, "width": 32, "learning_rate": 5e-3}
    files = run("experts", tmp_path, spec(kind | {"ema": 0.95}), **inputs)
    net = models.load(
        artifacts.read_arrays(files["weights"]), artifacts.read_provenance(files["weights"])
    )
    noise = torch.from_numpy(seeds.normals(0, "noise", range(16), (1, 4, 4)))
    with torch.no_grad():
        drawn = Euler(num_steps=20)(lambda x, t, step: net(x, t), noise)
    error = (drawn - torch.from_numpy(image / np.float32(8) - 1)).square().mean().sqrt()
    assert error < 0.15  # noise and image are 1.2 apart
    losses = artifacts.read_table(files["loss"])["loss"]
    assert losses[:5].mean() > 1 and losses[-20:].mean() < 0.3


def test_experts_together_see_as_many_images_as_the_monolith(inputs, tmp_path):
    seen = []
    for k in range(3):
        files = run("experts", tmp_path / str(k), spec(SHORT, k, 3), **inputs)
        seen.append(artifacts.read_table(files["loss"])["images"].iloc[-1])
    stored = artifacts.read_arrays(inputs["samples"])["samples"]
    whole = make_data(tmp_path / "m", stored, np.arange(9) < 6, levels=16)
    files = run("experts", tmp_path / "m", spec(SHORT), **whole)
    monolith = artifacts.read_table(files["loss"])["images"]
    assert seen == [24, 24, 24] and monolith.iloc[-1] == 72 and len(monolith) == 6


def test_a_batch_that_does_not_divide_is_refused(inputs, tmp_path):
    message = r"total_batch: wanted a multiple of 3 \(experts of one partition.*\), got 10"
    with pytest.raises(ValueError, match=message):
        run("experts", tmp_path, spec(SHORT | {"total_batch": 10}, 0, 3), **inputs)


def test_held_out_images_and_other_clusters_are_never_seen(tmp_path):
    points = np.random.default_rng(0).normal(size=(9, 1, 4, 4)).astype(np.float32)
    clusters, is_train = np.arange(9) % 3, np.arange(9) < 6
    clean = make_data(tmp_path / "a", points, is_train, clusters=clusters)
    dirty = points.copy()
    dirty[~(is_train & (clusters == 1))] = np.nan
    made = make_data(tmp_path / "b", dirty, is_train, clusters=clusters)
    first = run("experts", tmp_path / "a", spec(SHORT, 1, 3), **clean)
    second = run("experts", tmp_path / "b", spec(SHORT, 1, 3), **made)
    assert content(first["weights"]) == content(second["weights"])
    assert np.isfinite(artifacts.read_table(second["loss"])["loss"]).all()


def test_each_expert_has_its_own_stream_and_first_weights(inputs, tmp_path):
    kinds = [
        spec(SHORT, 0, 3),
        spec(SHORT, 0, 3, partition="q"),
        spec(SHORT, 0, 3, seed=8),
        spec(SHORT, 0, 3, training=1),
        spec(SHORT, 1, 3),
    ]
    losses, entries = set(), set()
    for n, kind in enumerate(kinds):
        files = run("experts", tmp_path / str(n), kind, **inputs)
        losses.add(artifacts.read_table(files["loss"])["loss"][0])
        entries.add(artifacts.read_arrays(files["weights"])["patch_embed.weight"].flat[0])
    assert len(losses) == len(entries) == len(kinds)
    again = run("experts", tmp_path / "again", kinds[4], **inputs)
    assert content(again["weights"]) == content(files["weights"])


def labelled(folder, num=60):
    """Images of two labels, constant -1/2 and 1/2, in one cluster."""
    labels = np.where(np.arange(num) % 2, 8, 3)
    stored = np.where(labels == 8, 12, 4)[:, None, None, None] * np.ones((1, 1, 4, 4))
    is_train = np.arange(num) % 6 > 0
    return make_data(folder, stored.astype(np.uint8), is_train, labels=labels, levels=16)


@pytest.mark.parametrize("condition", ["label", "text"])
def test_a_conditional_expert_draws_what_it_is_asked_for(condition, tmp_path, rng):
    kind = TINY | {"steps": 250, "total_batch": 64, "learning_rate": 1e-2, "ema": 0.9}
    inputs = labelled(tmp_path)
    files = run("experts", tmp_path, spec(kind | {"drop": 0.3}, condition=condition), **inputs)
    note = artifacts.read_provenance(files["weights"])
    net = ConditionedNetwork(models.load(artifacts.read_arrays(files["weights"]), note))
    conditioner = conditioners.from_metadata(note["conditioner"])
    t, eps = torch.full((64,), 0.98), torch.randn(64, 1, 4, 4, generator=rng)

    def clean(*told):
        """The mean image that is predicted from almost pure noise."""
        with torch.no_grad():
            return (eps - t[:, None, None, None] * net(eps, t, *told)).mean().item()

    for label, value in ((3, -0.5), (8, 0.5)):
        told = conditioner(np.full(64, label), [f"label {label}"] * 64)
        assert clean(told) == pytest.approx(value, abs=0.15)
    assert clean() == pytest.approx(0.0, abs=0.2)  # of all images


def test_the_share_of_dropped_prompts_is_the_asked_one(tmp_path, monkeypatch):
    told, forward = [], DiT.forward

    def listening(self, x, t, label=None, text=None, text_mask=None):
        told.append(label)
        return forward(self, x, t, label, text, text_mask)

    monkeypatch.setattr(DiT, "forward", listening)
    kind = TINY | {"steps": 3, "total_batch": 400, "drop": 0.3}
    inputs = labelled(tmp_path)
    run("experts", tmp_path, spec(kind, condition="label"), **inputs)
    index = artifacts.read_table(inputs["index"])
    rank = (index["label"][index["split"] == "train"] == 8).to_numpy().astype(int)
    for step, label in enumerate(told):
        rng = seeds.stream(7, "batches", seeds.name_to_int("p"), 0, 0, step)
        rows, _, _ = noise_batch(len(rank), (1, 4, 4), 400, rng)
        is_null = label.numpy() == 2
        assert np.array_equal(label[~is_null], rank[rows[~is_null]])
        assert abs(is_null.mean() - 0.3) < 4 * (0.3 * 0.7 / 400) ** 0.5
    assert len(told) == 3 and not torch.equal(told[0], told[1])


def test_prompts_are_those_of_all_experts(tmp_path):
    # The cluster has one of two labels; held-out images may not bring a third.
    stored = np.zeros((6, 1, 4, 4), np.uint8)
    labels, clusters = [1, 1, 2, 2, 1, 3], [0, 0, 1, 1, 0, 1]
    inputs = make_data(tmp_path, stored, np.arange(6) < 4, labels, clusters, levels=16)
    for k in range(2):
        files = run("experts", tmp_path / str(k), spec(SHORT, k, 2, condition="label"), **inputs)
        note = artifacts.read_provenance(files["weights"])
        assert note["conditioner"] == {"name": "label", "classes": [1, 2]}
        assert note["model"]["num_classes"] == 2
    files = run("experts", tmp_path / "none", spec(SHORT, 0, 2), **inputs)
    note = artifacts.read_provenance(files["weights"])
    assert note["conditioner"] is None and note["model"]["num_classes"] is None


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_a_share_that_leaves_a_branch_untrained_is_refused(drop):
    with refused(rf"drop: wanted a fraction in \(0, 1\), .* got {drop}"):
        Transformer(1, 1, drop=drop)


class Killed(BaseException):
    pass


def test_a_killed_stage_goes_on_and_ends_the_same(inputs, tmp_path, monkeypatch):
    unbroken = run("experts", tmp_path / "a", spec(SHORT), **inputs)
    assert not list(tmp_path.glob("a/*.state"))
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)
    draw, calls = noise_batch, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return draw(*arguments)

    monkeypatch.setattr(experts, "noise_batch", dying)
    with pytest.raises(Killed):
        run("experts", tmp_path / "b", spec(SHORT), **inputs)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["weights.state"]
    files = run("experts", tmp_path / "b", spec(SHORT), **inputs)
    assert len(calls) == 4 + 3
    for name, path in files.items():
        assert content(path) == content(unbroken[name])
    assert not list(tmp_path.glob("b/*.state"))


def test_a_disk_that_fills_up_at_the_end_costs_no_training(inputs, tmp_path, monkeypatch):
    write = artifacts.table_bytes

    def full(*arguments):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(artifacts, "table_bytes", full)
    with pytest.raises(OSError, match="no space"):
        run("experts", tmp_path / "b", spec(SHORT), **inputs)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["weights.state"]
    monkeypatch.setattr(artifacts, "table_bytes", write)
    monkeypatch.setattr(experts, "noise_batch", None)  # nothing is drawn again
    files = run("experts", tmp_path / "b", spec(SHORT), **inputs)
    assert len(artifacts.read_table(files["loss"])) == 6


def test_a_state_is_not_resumed_for_other_options(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "table_bytes", None)
    with pytest.raises(TypeError):
        run("experts", tmp_path, spec(SHORT), **inputs)
    monkeypatch.undo()
    files = run("experts", tmp_path, spec(SHORT | {"learning_rate": 2e-3}), **inputs)
    truth = run("experts", tmp_path / "t", spec(SHORT | {"learning_rate": 2e-3}), **inputs)
    assert content(files["weights"]) == content(truth["weights"])


def test_points_and_lost_worlds_are_refused(inputs, tmp_path):
    points = make_data(tmp_path / "p", np.zeros((4, 2), np.float32), np.arange(4) < 3)
    with refused(r"a transformer wants square images .* got samples of shape \[2\]"):
        run("experts", tmp_path, spec(SHORT), **points)
    with refused("experts: 'exact' wants data.source 'mixture', got a source without"):
        run("experts", tmp_path, spec({"name": "exact"}), **inputs)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    return read(folder, WORLD, heldout=0.5, seed=1)


def exact(folder, world, owner):
    """The arrays and notes of exact experts; component c belongs to cluster owner[c]."""
    labels = artifacts.read_table(world["index"])["label"].to_numpy()
    stored = artifacts.read_arrays(world["samples"])["samples"]
    table = make_data(folder, stored, labels >= 0, clusters=np.asarray(owner)[labels])
    inputs = world | {"assignments": table["assignments"]}
    found = [
        run("experts", folder / str(k), spec({"name": "exact"}, k, max(owner) + 1), **inputs)
        for k in range(max(owner) + 1)
    ]
    assert all(artifacts.read_table(files["loss"]).empty for files in found)
    paths = [files["weights"] for files in found]
    return [artifacts.read_arrays(p) for p in paths], [artifacts.read_provenance(p) for p in paths]


@pytest.mark.parametrize("owner", [[0, 1, 2, 3], [0, 1, 0, 1], [2, 0, 1, 1]])
def test_exact_experts_weighted_by_the_posterior_are_the_monolith(owner, world, tmp_path, rng):
    (whole,), (note,) = exact(tmp_path / "whole", world, [0, 0, 0, 0])
    arrays, notes = exact(tmp_path / "parts", world, owner)
    materials = arms.exact_router_inputs(arrays, notes)
    np.testing.assert_allclose(whole["weights"] / whole["weights"].sum(), [0.1, 0.2, 0.3, 0.4])
    assert np.array_equal(whole["means"], WORLD["means"])
    assert np.array_equal(whole["stds"], WORLD["stds"])
    x = 4 * torch.randn(300, 2, generator=rng, dtype=torch.float64)
    t = torch.cat([torch.tensor([0.0, 1.0]), torch.rand(298, generator=rng)]).double()
    p = materials["mixture"].cluster_posterior(
        x, t, materials["cluster_of_component"], max(owner) + 1
    )
    pairs = list(zip(arrays, notes, strict=True))
    said = torch.stack([models.load(*part).velocity(x, t) for part in pairs], 1)
    mixed = (p[:, :, None] * said).sum(1)
    torch.testing.assert_close(
        mixed, models.load(whole, note).velocity(x, t), rtol=1e-12, atol=1e-12
    )
    assert (said[:, 0] - mixed).abs().mean() > 0.1  # the experts differ


def test_exact_experts_of_a_labelled_world_speak_both_branches(tmp_path, rng):
    # Two labels across two clusters; the whole world is the mixture of all four components.
    source = WORLD | {"labels": [4, 9, 9, 4], "num_points": 400}
    files = read(tmp_path, source, heldout=0.5, seed=1)
    component = artifacts.read_table(files["index"])["component"].to_numpy()
    stored = artifacts.read_arrays(files["samples"])["samples"]
    owner = np.array([0, 0, 1, 1])
    table = make_data(tmp_path / "t", stored, component >= 0, clusters=owner[component])
    inputs = files | {"assignments": table["assignments"]}
    shares = torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    covs = (
        torch.tensor(WORLD["stds"], dtype=torch.float64).square()[:, None, None]
        * torch.eye(2).double()
    )
    truth = GaussianMixture(shares, torch.tensor(WORLD["means"], dtype=torch.float64), covs)
    x, t = 3 * torch.randn(50, 2, generator=rng).double(), torch.rand(50, generator=rng).double()
    for k in range(2):
        made = run("experts", tmp_path / str(k), spec(EXACT, k, 2, condition="label"), **inputs)
        note = artifacts.read_provenance(made["weights"])
        assert note["conditioner"] == {"name": "label", "classes": [4, 9]}
        expert = models.load(artifacts.read_arrays(made["weights"]), note)
        conditioner = conditioners.from_metadata(note["conditioner"])
        mine = torch.from_numpy(np.flatnonzero(owner == k))
        null = truth.restrict(mine).velocity(x, t)
        torch.testing.assert_close(expert.velocity(x, t), null)
        dropped = conditioner(np.full(50, 4), [], np.ones(50, bool))
        torch.testing.assert_close(expert.velocity(x, t, dropped), null)
        for label in (4, 9):
            (c,) = [c for c in mine.tolist() if source["labels"][c] == label]
            said = expert.velocity(x, t, conditioner(np.full(50, label), []))
            torch.testing.assert_close(said, truth.restrict(torch.tensor([c])).velocity(x, t))


def test_exact_experts_are_told_labels_alone(world, tmp_path):
    labels = artifacts.read_table(world["index"])["label"].to_numpy()
    stored = artifacts.read_arrays(world["samples"])["samples"]
    table = make_data(tmp_path, stored, labels >= 0, clusters=labels)
    inputs = world | {"assignments": table["assignments"]}
    with refused("experts: 'exact' wants condition 'label' or 'none', got 'text'"):
        run("experts", tmp_path, spec(EXACT, 0, 4, condition="text"), **inputs)


def test_a_split_component_is_refused(world, tmp_path):
    labels = artifacts.read_table(world["index"])["label"].to_numpy()
    clusters = labels.copy()
    train = (artifacts.read_table(world["index"])["split"] == "train").to_numpy()
    clusters[np.flatnonzero(train & (labels == 2))[0]] = 3
    stored = artifacts.read_arrays(world["samples"])["samples"]
    table = make_data(tmp_path, stored, train, clusters=clusters)
    inputs = world | {"assignments": table["assignments"]}
    for k in (2, 3):
        with refused("'exact' wants every component inside one cluster, got component 2 split"):
            run("experts", tmp_path, spec({"name": "exact"}, k, 4), **inputs)
