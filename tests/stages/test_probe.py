"""The probe stage: what it stores knows the error of every ensemble of the experts it asked."""

import gc
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from stages import ROOT, WORLD, content, make, make_data, read, run

from routing.data import conditioners, probe_states
from routing.data.conditioners import LabelConditioner, WordConditioner
from routing.ensemble.gram_matrix import ensemble_error
from routing.flow.conditions import ConditionedNetwork
from routing.loading import models
from routing.networks.dit import DiT
from routing.stages import probe
from routing.workflow import artifacts

PROBE = {
    "num_states": 90,
    "shard_size": 90,
    "num_directions": 3,
    "fit_fraction": 0.5,
    "calibration_fraction": 0.25,
}
NUM_EXPERTS = 3
SHAPE = (1, 4, 4)


def spec(first_state=0, **sizes):
    names = {"partition": "p", "training_seed": 0}
    return {"seed": ROOT, "probe": PROBE | sizes, "first_state": first_state} | names


def network(g, **options):
    """The note and arrays of a DiT that says something, not the 0 of a fresh one."""
    note = models.dit_config(SHAPE, patch_size=2, width=16, depth=1, num_heads=2, **options)
    net = models.build_dit(note)
    return note, {n: 0.3 * torch.randn(p.shape, generator=g) for n, p in net.named_parameters()}


def experts(folder, g, conditioner=None):
    files = []
    for k in range(NUM_EXPERTS):
        note, weights = network(g, **(conditioner.options() if conditioner else {}))
        arrays = {name: w.numpy() for name, w in weights.items()}
        path, told = folder / f"e{k}.safetensors", conditioners.to_metadata(conditioner)
        files.append(make("experts", path, arrays, model=note, conditioner=told))
    return files


@pytest.fixture
def data(tmp_path):
    """Twenty images with three labels, twelve of them held out."""
    stored = np.random.default_rng(0).integers(17, size=(20, *SHAPE)).astype(np.uint8)
    files = make_data(
        tmp_path, stored, np.arange(20) % 5 < 2, labels=np.arange(20) % 3 + 4, levels=16
    )
    return {name: files[name] for name in ("samples", "index")}


def held(data, files):
    """Table, states, Gram matrices and projections of a probe; index and values beside them."""
    table = artifacts.read_table(files["states"])
    values = artifacts.read_arrays(data["samples"])["samples"].astype(np.float32) / 8 - 1
    arrays = {n: torch.from_numpy(a) for n, a in artifacts.read_arrays(files["gram"]).items()}
    return table, probe_states.states(table, values[table["row"]], ROOT), arrays


def said(paths, shard, told=None):
    """The velocities of the experts, each state asked alone."""
    found = []
    for path in paths:
        net = ConditionedNetwork(
            models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
        )
        rows = range(len(shard))
        one = [
            net(shard.x[[i]], shard.t[[i]], None if told is None else told[i : i + 1])
            for i in rows
        ]
        found.append(torch.cat(one))
    return torch.stack(found)


def test_the_gram_knows_the_error_of_every_ensemble(data, tmp_path, rng):
    paths = experts(tmp_path, rng)
    files = run("probe", tmp_path, spec(), experts=paths, **data)
    table, shard, arrays = held(data, files)
    v = said(paths, shard)
    assert len(table) == 90 and arrays["gram"].dtype == torch.float32
    for _ in range(5):
        w = torch.rand(90, NUM_EXPERTS, generator=rng)
        w = w / w.sum(1, keepdim=True)
        mixed = torch.einsum("sk,ks...->s...", w, v)
        direct = (mixed - shard.target).square().flatten(1).mean(1)
        found = ensemble_error(w, arrays["gram"])
        torch.testing.assert_close(found, direct, rtol=1e-5, atol=0)
    assert v.std(0).mean() > 0.1  # the experts differ


def test_projections_are_inner_products(data, tmp_path, rng):
    paths = experts(tmp_path, rng)
    files = run("probe", tmp_path, spec(), experts=paths, **data)
    table, shard, arrays = held(data, files)
    v, along = said(paths, shard), probe_states.directions(table, 3, SHAPE, ROOT)
    assert arrays["projections"].shape == (90, 3, NUM_EXPERTS)
    for i, j, k in [(0, 0, 0), (17, 2, 1), (89, 1, 2), (40, 0, 2)]:
        expected = (along[i, j] * v[k, i]).sum()
        torch.testing.assert_close(arrays["projections"][i, j, k], expected, rtol=1e-4, atol=1e-4)


def test_the_states_are_those_of_the_held_out_images(data, tmp_path, rng):
    files = run("probe", tmp_path, spec(), experts=experts(tmp_path, rng), **data)
    heldout = np.flatnonzero(artifacts.read_table(data["index"])["split"] == "heldout")
    expected = probe_states.table(heldout, 90, ROOT, {"fit": 0.5, "calibrate": 0.25})
    pd.testing.assert_frame_equal(artifacts.read_table(files["states"]), expected)
    assert artifacts.read_provenance(files["gram"])["num_evaluations"] == 90 * NUM_EXPERTS


def test_train_images_are_never_noised(data, tmp_path, rng):
    paths = experts(tmp_path, rng)
    first = run("probe", tmp_path / "a", spec(), experts=paths, **data)
    stored = artifacts.read_arrays(data["samples"])["samples"].copy()
    stored[artifacts.read_table(data["index"])["split"] == "train"] = 0
    samples = make("data", tmp_path / "b.safetensors", {"samples": stored}, levels=16)
    second = run("probe", tmp_path / "b", spec(), experts=paths, **data | {"samples": samples})
    assert content(first["gram"]) == content(second["gram"])


def test_shards_are_the_whole(data, tmp_path, rng):
    paths = experts(tmp_path, rng)
    whole = run("probe", tmp_path / "w", spec(), experts=paths, **data)
    parts = [
        run("probe", tmp_path / str(i), spec(i, shard_size=45), experts=paths, **data)
        for i in (0, 45)
    ]
    tables = [artifacts.read_table(files["states"]) for files in parts]
    joined = pd.concat(tables, ignore_index=True)
    pd.testing.assert_frame_equal(joined, artifacts.read_table(whole["states"]))
    for name, array in artifacts.read_arrays(whole["gram"]).items():
        pieces = np.concatenate([artifacts.read_arrays(files["gram"])[name] for files in parts])
        # The size of a batch may move the last bits of a product of matrices.
        np.testing.assert_allclose(pieces, array, rtol=1e-5, atol=1e-5)
    notes = [artifacts.read_provenance(files["gram"])["num_evaluations"] for files in parts]
    assert notes == [45 * NUM_EXPERTS] * 2


def test_one_expert_is_in_memory_and_one_batch_is_asked(data, tmp_path, rng, monkeypatch):
    loaded, sizes, load, forward = [], [], models.load, DiT.forward

    def watched(*arguments):
        gc.collect()
        assert not any(ref() for ref in loaded), "the last expert is still there"
        net = load(*arguments)
        loaded.append(weakref.ref(net))
        return net

    def counted(self, x, t, *told, **named):
        sizes.append(len(x))
        return forward(self, x, t, *told, **named)

    paths = experts(tmp_path, rng)
    whole = run("probe", tmp_path / "w", spec(), experts=paths, **data)
    monkeypatch.setattr(probe, "BATCH_SIZE", 40)
    monkeypatch.setattr(models, "load", watched)
    monkeypatch.setattr(DiT, "forward", counted)
    files = run("probe", tmp_path, spec(), experts=paths, **data)
    assert len(loaded) == NUM_EXPERTS and sizes == [40, 40, 10] * NUM_EXPERTS
    note = artifacts.read_provenance(files["gram"])
    assert note["num_evaluations"] == sum(sizes)
    for name, array in artifacts.read_arrays(whole["gram"]).items():
        found = artifacts.read_arrays(files["gram"])[name]
        np.testing.assert_allclose(found, array, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [LabelConditioner, WordConditioner])
def test_conditional_experts_are_told_the_prompt_of_the_image_or_nothing(
    kind, data, tmp_path, rng, monkeypatch
):
    monkeypatch.setattr(probe, "BATCH_SIZE", 40)
    index = artifacts.read_table(data["index"])
    conditioner = kind.of(index["label"].to_numpy(), index["caption"].tolist())
    paths = experts(tmp_path, rng, conditioner)
    files = run("probe", tmp_path, spec(), experts=paths, **data)
    _, shard, arrays = held(data, files)
    of = index.iloc[shard.row]
    told = conditioner(of["label"].to_numpy(), of["caption"].tolist())
    told, null = said(paths, shard, told), said(paths, shard)
    v = torch.where(torch.from_numpy(shard.is_null)[:, None, None, None], null, told)
    errors = (v - shard.target).square().flatten(2).mean(2).T
    diagonal = arrays["gram"].diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(diagonal, errors, rtol=1e-4, atol=1e-4)
    assert (told - null).abs().mean() > 0.05 and 0 < shard.is_null.sum() < 90


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A plane of four components, two labels and two clusters; the files of its data."""
    folder = tmp_path_factory.mktemp("world")
    source = WORLD | {"labels": [0, 1, 1, 0], "num_points": 200}
    files = read(folder, source, heldout=0.5)
    owner = np.array([0, 0, 1, 1])[artifacts.read_table(files["index"])["component"]]
    points = artifacts.read_arrays(files["samples"])["samples"]
    made = make_data(folder / "a", points, owner >= 0, clusters=owner)
    return files | {"assignments": made["assignments"]}


@pytest.mark.parametrize("condition", ["none", "label"])
def test_exact_experts_are_asked_in_double(condition, world, tmp_path):
    paths = []
    for k in range(2):
        names = {"partition": "p", "training_seed": 0, "condition": condition}
        kind = {"expert": {"name": "exact"}, "cluster": k, "num_experts": 2, "seed": ROOT}
        paths.append(run("experts", tmp_path / str(k), kind | names, **world)["weights"])
    data = {name: world[name] for name in ("samples", "index")}
    files = run("probe", tmp_path, spec(), experts=paths, **data)
    table, index = artifacts.read_table(files["states"]), artifacts.read_table(world["index"])
    shard = probe_states.states(
        table, artifacts.read_arrays(world["samples"])["samples"][table["row"]], ROOT
    )
    x, t = shard.x.double(), shard.t.double()
    labels = np.where(shard.is_null, 2, index["label"].to_numpy()[shard.row])
    conditioner = LabelConditioner((0, 1, 2))  # 2, the null label, is a rank of its own
    v = []
    for path in paths:
        net = models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
        told = () if condition == "none" else (conditioner(labels, []),)
        v.append(net.velocity(x, t, *told))
    errors = torch.stack(v) - shard.target.double()
    expected = torch.einsum("isd,jsd->sij", errors, errors) / 2
    found = torch.from_numpy(artifacts.read_arrays(files["gram"])["gram"])
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-7)
