"""The router stage: what is learned is the posterior, from its own states and from no other."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from stages import ROOT, content, make, make_data, make_probe, refused, run

from routing.data import probe_states
from routing.data.conditioners import from_metadata
from routing.ensemble.calibration import fit_temperatures, fit_temperatures_error
from routing.ensemble.objectives import OBJECTIVES
from routing.ensemble.routers import ROUTERS
from routing.flow import paths
from routing.flow.conditions import ConditionedNetwork
from routing.flow.exact_worlds import GaussianMixture
from routing.loading import models, router_evaluation
from routing.loading.router_data import BATCH_SOURCES
from routing.loading.router_evaluation import RouterOutputs, reliability_table, report_table
from routing.networks.dit import DiT
from routing.stages.router import LEARNED as TABLE
from routing.training import loop as training
from routing.training.batches import noise_batch
from routing.workflow import artifacts, choices, code_digest, seeds

SHAPE, DIM, MEAN, STD = (1, 4, 4), 16, 0.2, 0.2
WEIGHTS = torch.tensor([0.75, 0.25], dtype=torch.float64)
MEANS = MEAN * torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, DIM)
WORLD = GaussianMixture(WEIGHTS, MEANS, STD**2 * torch.eye(DIM).double().expand(2, -1, -1))
NUM, NUM_TRAIN = 160, 80
TRAIN = np.flatnonzero(np.arange(NUM) // 4 % 2)  # four held out, four to train on, ...

LEARNED = {"name": "learned", "steps": 4, "batch_size": 8}
TINY = LEARNED | {"width": 16, "depth": 1, "num_heads": 2, "warmup_steps": 3}
READS = {name: kind.reads for name, kind in OBJECTIVES.items()}


def spec(objective="cluster", partition="p", training=0, num_experts=2, **options):
    objective = {"name": objective} if isinstance(objective, str) else objective
    names = {"router_name": "r", "partition": partition, "training_seed": training}
    kind = TINY | {"objective": objective} | options
    return {"seed": ROOT, "router": kind, "num_experts": num_experts} | names


def flat(field):
    """A field of points as one of images."""
    return lambda x, t: field(x.flatten(1).double(), t.double()).float().unflatten(1, SHAPE)


EXPERTS = [flat(WORLD.restrict(torch.tensor([k])).velocity) for k in range(2)]


def blobs():
    """Images of two round clusters, three of the first for one of the second."""
    clusters = (np.arange(NUM) % 4 == 0).astype(np.int64)
    noise = np.random.default_rng(0).normal(size=(NUM, *SHAPE))
    means = MEAN * (2 * clusters - 1)[:, None, None, None]
    return (means + STD * noise).astype(np.float32), clusters


def is_train():
    return np.isin(np.arange(NUM), TRAIN)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    stored, clusters = blobs()
    labels = np.arange(NUM) // 4 % 3 + 5  # of three classes, which say nothing of the cluster
    folder = tmp_path_factory.mktemp("data")
    return make_data(folder, stored, is_train(), labels=labels, clusters=clusters)


@pytest.fixture(scope="module")
def inputs(data, tmp_path_factory):
    return data | make_probe(tmp_path_factory.mktemp("probe"), data, EXPERTS, 400)


@pytest.fixture(scope="module")
def quick(inputs, tmp_path_factory):
    """A router of a few steps for each objective."""
    folder = tmp_path_factory.mktemp("quick")
    return {name: run("router", folder / name, spec(name), **inputs) for name in OBJECTIVES}


def network(files):
    path = files["weights"]
    return ConditionedNetwork(
        models.load(artifacts.read_arrays(path), artifacts.read_provenance(path))
    )


def first_loss(files):
    return artifacts.read_table(files["loss"])["loss"][0]


def test_the_tables_are_complete():
    assert TABLE.keys() == {"learned"} and not TABLE.keys() & ROUTERS.keys()
    assert TABLE["learned"].learned and not any(kind.learned for kind in ROUTERS.values())
    assert BATCH_SOURCES.keys() == set(READS.values())
    with refused("routers.x.objective: unknown name 'clusters'; did you mean 'cluster'"):
        choices.build(TABLE, LEARNED | {"objective": "clusters"}, "routers.x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": 1.0}, r"drop: wanted a fraction in \[0, 1\), got 1.0"),
        ({"drop": -0.1}, "drop: wanted a fraction"),
        ({"steps": 0}, "steps: wanted 1 or more without `start`, got 0"),
        ({"steps": -1, "start": "x"}, "training wants steps and batch_size >= 1, got -1 and 8"),
        ({"batch_size": 0}, "training wants steps and batch_size >= 1, got 4 and 0"),
        ({"ema": 1.0}, r"training wants ema in \[0, 1\)"),
        ({"condition": "class"}, "condition: wanted 'none', 'label' or 'text', got 'class'"),
        ({"temperature": "ece"}, "temperature: wanted 'none', 'nll' or 'error', got 'ece'"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_config(options, message):
    with refused(f"routers.x.*{message}"):
        choices.build(TABLE, LEARNED | {"objective": "cluster"} | options, "routers.x")


# What is learned.


LONG = {"steps": 200, "batch_size": 64, "learning_rate": 0.01, "ema": 0.95}


@pytest.fixture(scope="module")
def long_probe(data, tmp_path_factory):
    return data | make_probe(tmp_path_factory.mktemp("long"), data, EXPERTS, 4000)


@pytest.mark.parametrize(
    ("objective", "share"), [("cluster", 0.45), ("velocity", 0.65), ("consistency", 0.7)]
)
def test_the_learned_posterior_is_the_exact_one(objective, share, long_probe, tmp_path, rng):
    # Whether by labels, by the ensemble's error or by what experts imply: what is left of the
    # error of the prior after a short training, and how the logits are correlated with the true.
    files = run("router", tmp_path, spec(objective, **LONG), **long_probe)
    x0, _ = WORLD.sample(1000, rng)
    t = torch.linspace(0.4, 0.8, 1000).double()
    x = paths.add_noise(x0, torch.randn(x0.shape, generator=rng, dtype=x0.dtype), t)
    truth, z = WORLD.posterior(x, t), network(files)(x.float().unflatten(1, SHAPE), t.float())
    error = (z.softmax(1) - truth).abs().mean()
    assert error < share * (WEIGHTS - truth).abs().mean()
    odds = torch.stack([(z[:, 1] - z[:, 0]).double(), (truth[:, 1] / truth[:, 0]).log()])
    assert torch.corrcoef(odds)[0, 1] > 0.7
    noise = torch.randn(300, *SHAPE, generator=rng)
    p = network(files)(noise, torch.ones(300)).softmax(1)
    assert (p.mean(0) - WEIGHTS).abs().max() < 0.1


def test_the_first_loss_is_that_of_a_network_that_says_nothing(inputs, tmp_path, quick):
    # Logits 0: log K of a label; (G_11 + 2 G_12 + G_22) / 4 of the states of step 1.
    for name in ("cluster", "expert_error"):
        assert first_loss(quick[name]) >= np.log(2) * (1 - 1e-6)
    assert first_loss(quick["cluster"]) == pytest.approx(np.log(2), rel=1e-5)
    table, arrays = stored(inputs)
    fit = np.flatnonzero(table["split"] == "fit")
    rows = stream("velocity").integers(len(fit), size=8)
    expected = arrays["gram"][fit[rows]].sum((1, 2)).mean() / 4
    assert first_loss(quick["velocity"]) == pytest.approx(expected, rel=1e-5)
    losses = artifacts.read_table(quick["cluster"]["loss"])
    assert losses["images"].tolist() == [8, 16, 24, 32]
    assert not list(quick["cluster"]["loss"].parent.glob("*.state"))


def stored(inputs):
    """The table and the arrays of a probe."""
    tables = [artifacts.read_table(path) for path in inputs["states"]]
    arrays = [artifacts.read_arrays(path) for path in inputs["gram"]]
    joined = {name: np.concatenate([a[name] for a in arrays]) for name in arrays[0]}
    return pd.concat(tables, ignore_index=True), joined


def stream(purpose, step=0, partition="p", training=0):
    """The random numbers of a step of a router's training."""
    identity = (seeds.name_to_int(partition), seeds.name_to_int(purpose), training)
    return seeds.stream(ROOT, "batches", *identity, step)


def heard(monkeypatch, objective):
    """The batches that the objective is given."""
    batches, kind = [], OBJECTIVES[objective]
    call = kind.__call__

    def listening(self, logits, batch):
        batches.append(batch)
        return call(self, logits, batch)

    monkeypatch.setattr(kind, "__call__", listening)
    return batches


def test_an_image_objective_gets_fresh_noisings_of_train_images(inputs, tmp_path, monkeypatch):
    batches = heard(monkeypatch, "soft_cluster")
    run("router", tmp_path, spec("soft_cluster"), **inputs)
    images, clusters = blobs()
    for step, batch in enumerate(batches):
        rng = stream("soft_cluster", step)
        rows, t = TRAIN[rng.integers(NUM_TRAIN, size=8)], rng.random(8, np.float32)
        eps = rng.standard_normal((8, *SHAPE), np.float32)
        time = t[:, None, None, None]
        np.testing.assert_allclose(batch.x, (1 - time) * images[rows] + time * eps, atol=1e-6)
        assert np.array_equal(batch.t, t) and np.array_equal(batch.cluster, clusters[rows])
        distances = 1.5 * (clusters[rows, None] != np.arange(2))
        assert np.array_equal(batch.distances, distances)
        assert batch.prior.tolist() == [0.75, 0.25]
        assert (0 <= batch.uniforms).all() and len(set(batch.uniforms.tolist())) == 8
        assert batch.gram is batch.projections is batch.directions is None
    assert len(batches) == 4 and not torch.equal(batches[0].t, batches[1].t)


def test_a_probe_objective_gets_stored_states(inputs, tmp_path, monkeypatch):
    batches = heard(monkeypatch, "consistency")
    run("router", tmp_path, spec("consistency"), **inputs)
    images, clusters = blobs()
    table, arrays = stored(inputs)
    fit = table[table["split"] == "fit"]
    held = probe_states.states(fit, images[fit["row"]], ROOT)
    along = probe_states.directions(fit, 2, SHAPE, ROOT)
    for step, batch in enumerate(batches):
        rng = stream("consistency", step)
        rows = rng.integers(len(fit), size=8)
        rng.random(8, np.float32)
        one = [int(rng.integers(2))]  # of the two directions
        assert torch.equal(batch.x, held.x[rows]) and torch.equal(batch.t, held.t[rows])
        assert np.array_equal(batch.cluster, clusters[held.row[rows]])
        assert np.array_equal(batch.gram, arrays["gram"][fit.index[rows]])
        projections = arrays["projections"][fit.index[rows]][:, one]
        assert np.array_equal(batch.projections, projections)
        assert torch.equal(batch.directions, along[rows][:, one])
        assert np.array_equal(batch.distances, 1.5 * (batch.cluster[:, None] != torch.arange(2)))
        v = torch.stack([expert(batch.x, batch.t) for expert in EXPERTS])
        projected = torch.einsum("sj...,ks...->sjk", batch.directions, v)
        torch.testing.assert_close(batch.projections, projected, rtol=1e-4, atol=1e-4)
    assert len(batches) == 4


# What it is learned from.


def changed(inputs, folder, images=None, clusters=None, gram=None):
    """The inputs with other images, clusters or Gram matrices."""
    old_images, old_clusters = blobs()
    labels = artifacts.read_table(inputs["index"])["label"]
    images = old_images if images is None else images
    clusters = old_clusters if clusters is None else clusters
    made = make_data(folder, images, is_train(), labels=labels, clusters=clusters)
    if gram is not None:
        arrays = stored(inputs)[1] | {"gram": gram}
        made["gram"] = make("probe", folder / "gram.safetensors", arrays)
    return inputs | made


@pytest.mark.parametrize("objective", [name for name, reads in READS.items() if reads == "images"])
def test_held_out_images_are_not_trained_on(objective, inputs, quick, tmp_path):
    images, clusters = blobs()
    held = ~is_train()
    images[held] = images[held][::-1] + 1
    clusters[held] = 1 - clusters[held]
    gram = stored(inputs)[1]["gram"][::-1].copy()
    other = changed(inputs, tmp_path, images, clusters, gram)
    files = run("router", tmp_path, spec(objective), **other)
    for name in ("weights", "loss"):
        assert content(files[name]) == content(quick[objective][name])
    assert content(files["report"]) != content(quick[objective]["report"])


@pytest.mark.parametrize("objective", [name for name, reads in READS.items() if reads == "probe"])
def test_train_images_are_not_looked_at_where_the_probe_is_read(
    objective, inputs, quick, tmp_path
):
    images, clusters = blobs()
    images[is_train()] = np.nan
    clusters[is_train()] = clusters[is_train()][::-1]  # the prior is known to all
    other = changed(inputs, tmp_path, images, clusters)
    files = run("router", tmp_path, spec(objective), **other)
    for name, path in files.items():
        assert content(path) == content(quick[objective][name])


@pytest.mark.parametrize("objective", ["cluster", "velocity"])
@pytest.mark.parametrize("part", ["fit", "calibrate", "report"])
def test_each_part_of_the_probe_has_one_use(part, objective, inputs, quick, tmp_path):
    table, arrays = stored(inputs)
    gram, mine = arrays["gram"].copy(), table["split"] == part
    gram[mine] = gram[mine][:, ::-1, ::-1] * 2  # the experts change places
    clusters = blobs()[1]
    rows = table["row"][mine].unique()
    clusters[rows] = 1 - clusters[rows]
    other = changed(inputs, tmp_path, clusters=clusters, gram=gram)
    files = run("router", tmp_path, spec(objective), **other)
    first, second = quick[objective], files
    is_learned = part == "fit" and objective == "velocity"
    assert (content(first["weights"]) == content(second["weights"])) is not is_learned
    before, after = (artifacts.read_table(f["report"]) for f in (first, second))
    keys = ["version", "t_low", "quantity"]
    both = before.merge(after, on=keys, suffixes=("_before", "_after"))
    same = np.isclose(both["value_before"], both["value_after"], rtol=1e-12, atol=0)
    if part == "report":
        assert not same[both["quantity"] == "error_best"].any()
        assert not same[both["quantity"] == "nll"].any()
    elif part == "calibrate":
        is_raw = both["version"].isin(["raw", "none"])
        assert same[is_raw].all()
        for version in ("nll", "error"):
            assert not same[(both["version"] == version) & (both["quantity"] == "nll")].all()
    else:
        assert same.all() is not is_learned


def test_shards_are_the_whole(data, inputs, quick, tmp_path):
    parts = data | make_probe(tmp_path, data, EXPERTS, 400, num_shards=3)
    assert len(parts["gram"]) == 3
    files = run("router", tmp_path / "r", spec("consistency"), **parts)
    for name, path in files.items():
        assert content(path) == content(quick["consistency"][name])


class Killed(BaseException):
    pass


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_killed_stage_goes_on_and_ends_the_same(objective, inputs, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY_S", 0.0)
    kind, calls = OBJECTIVES[objective], []
    call = kind.__call__

    def dying(self, logits, batch):
        calls.append(batch.t)
        if len(calls) == 3:
            raise Killed
        return call(self, logits, batch)

    monkeypatch.setattr(kind, "__call__", dying)
    with pytest.raises(Killed):
        run("router", tmp_path, spec(objective), **inputs)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.state"]
    files = run("router", tmp_path, spec(objective), **inputs)
    assert len(calls) == 3 + 2 and torch.equal(calls[2], calls[3])
    for name, path in files.items():
        assert content(path) == content(quick[objective][name]), name
    assert not list(tmp_path.glob("*.state"))
    weights = artifacts.read_arrays(files["weights"])
    assert all(np.isfinite(a).all() for a in weights.values())


def test_what_was_begun_for_other_options_or_inputs_is_not_gone_on_with(
    inputs, quick, tmp_path, monkeypatch
):
    gram = 2 * stored(inputs)[1]["gram"]
    others = [
        (spec("velocity", learning_rate=2e-3), inputs),
        (spec("velocity"), changed(inputs, tmp_path, gram=gram)),
    ]
    for n, (kind, files) in enumerate(others):
        with monkeypatch.context() as patch:
            patch.setattr(artifacts, "table_bytes", None)
            with pytest.raises(TypeError):
                run("router", tmp_path / str(n), kind, **files)
        assert [p.name for p in (tmp_path / str(n)).iterdir()] == ["weights.state"]
        made = run("router", tmp_path / str(n), spec("velocity"), **inputs)
        assert content(made["weights"]) == content(quick["velocity"]["weights"])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_no_expert_is_asked(objective, inputs, tmp_path, monkeypatch):
    requested, loaded = [], []
    forward, load, velocity = DiT.forward, models.load, GaussianMixture.velocity

    def counted(self, x, *told, **named):
        requested.append(self.architecture.num_logits)
        return forward(self, x, *told, **named)

    def opened(arrays, notes):
        loaded.append(notes["model"])
        return load(arrays, notes)

    monkeypatch.setattr(DiT, "forward", counted)
    monkeypatch.setattr(models, "load", opened)
    monkeypatch.setattr(
        GaussianMixture, "velocity", lambda *a: requested.append(None) or velocity(*a)
    )
    run("router", tmp_path, spec(objective, temperature="error"), **inputs)
    assert requested == [2] * (4 + 2)  # the router at 4 steps and 2 parts, an expert (None) never
    assert [(model["name"], model["num_logits"]) for model in loaded] == [("dit", 2)]


# Who it is.


def test_every_router_has_its_own_stream_and_first_weights(inputs, tmp_path):
    kinds = [
        spec(),
        spec("soft_cluster"),
        spec(partition="q"),
        spec(training=1),
        spec() | {"seed": 8},
    ]
    options = {"steps": 1, "learning_rate": 1e-9, "weight_decay": 0.0}
    times, entries = set(), set()
    for n, kind in enumerate(kinds):
        kind["router"] |= options
        with pytest.MonkeyPatch.context() as patch:
            batches = heard(patch, kind["router"]["objective"]["name"])
            files = run("router", tmp_path / str(n), kind, **inputs)
        times.add(batches[0].t[0].item())
        weights = artifacts.read_arrays(files["weights"])["patch_embed.weight"]
        entries.add(round(float(weights.flat[0]), 6))
    assert len(times) == len(entries) == len(kinds)


def test_a_router_draws_other_batches_than_the_experts():
    theirs = seeds.stream(ROOT, "batches", seeds.name_to_int("p"), 0, 0, 0)
    assert stream("cluster").random() != theirs.random()


# Temperatures and reports.


@pytest.fixture(scope="module")
def told_label(inputs, tmp_path_factory):
    """A router that is told the label and is calibrated by its error."""
    options = {"steps": 60, "batch_size": 32, "condition": "label", "temperature": "error"}
    return run("router", tmp_path_factory.mktemp("told"), spec(**options), **inputs)


@pytest.fixture(params=["blind", "told"])
def reported(request, inputs, quick, told_label):
    """Files of a router, and what it says on each part of the probe when asked directly."""
    files = quick["cluster"] if request.param == "blind" else told_label
    images, clusters = blobs()
    table, arrays = stored(inputs)
    index, net = artifacts.read_table(inputs["index"]), network(files)
    conditioner = from_metadata(artifacts.read_provenance(files["weights"])["conditioner"])
    parts = {}
    for part in probe_states.SPLITS:
        chosen = table[table["split"] == part]
        held = probe_states.states(chosen, images[chosen["row"]], ROOT)
        told = None
        if conditioner is not None:
            of = index.iloc[held.row]
            told = conditioner(of["label"].to_numpy(), of["caption"].tolist(), held.is_null)
        logits = net(held.x, held.t, told).double()
        gram = torch.from_numpy(arrays["gram"][chosen.index])
        parts[part] = RouterOutputs(logits, held.t, torch.from_numpy(clusters[held.row]), gram)
    return files, parts


def test_temperatures_are_fitted_on_one_part_and_reported_on_another(reported):
    files, parts = reported
    part = parts["calibrate"]
    temperatures = {
        "nll": fit_temperatures(part.logits, part.cluster, part.t, 10),
        "error": fit_temperatures_error(part.logits, part.gram.double(), part.t, 10),
    }
    versions = {"raw": None} | temperatures
    expected = report_table(parts["report"], versions, WEIGHTS.float(), 10)
    found = artifacts.read_table(files["report"])
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)
    assert found["version"].unique().tolist() == ["raw", "nll", "error", "none"]
    before, after = (report_table(part, versions, WEIGHTS, 1).query(q) for q in QUERIES)
    assert after["value"].item() <= before["value"].item()
    reliability = artifacts.read_table(files["reliability"])
    expected = reliability_table(parts["report"], versions)
    pd.testing.assert_frame_equal(reliability, expected, rtol=1e-4, atol=1e-6)


QUERIES = [f"version == '{version}' and quantity == 'nll'" for version in ("raw", "nll")]


def test_the_sampler_gets_the_temperatures_that_are_asked_for(inputs, tmp_path, quick):
    found = {}
    for kind in ("none", "nll", "error"):
        files = run("router", tmp_path / kind, spec(temperature=kind), **inputs)
        found[kind] = artifacts.read_provenance(files["weights"])["temperatures"]
        assert content(files["report"]) == content(quick["cluster"]["report"])
        assert content(files["weights"]) == content(quick["cluster"]["weights"])
    assert found["none"] is None and len(found["nll"]) == len(found["error"]) == 10
    assert found["nll"] != found["error"]


def test_asking_in_pieces_changes_nothing(inputs, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(router_evaluation, "BATCH_SIZE", 7)
    files = run("router", tmp_path, spec(), **inputs)
    found, whole = (artifacts.read_table(f["report"]) for f in (files, quick["cluster"]))
    pd.testing.assert_frame_equal(found, whole, rtol=1e-4, atol=1e-6)


# Conditions.


def labels_told(monkeypatch):
    told, forward = [], DiT.forward

    def listening(self, x, t, label=None, text=None, text_mask=None):
        told.append(label if text is None else text.sum(1))
        return forward(self, x, t, label, text, text_mask)

    monkeypatch.setattr(DiT, "forward", listening)
    return told


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_an_image_is_told_its_label_but_for_the_share_that_is_dropped(
    drop, inputs, tmp_path, monkeypatch
):
    told = labels_told(monkeypatch)
    options = {"condition": "label", "drop": drop, "batch_size": 200}
    files = run("router", tmp_path, spec(**options), **inputs)
    rank = np.arange(NUM) // 4 % 3
    for step in range(4):
        rng = stream("cluster", step)
        rows, _, _ = noise_batch(NUM_TRAIN, SHAPE, 200, rng)
        is_null = told[step].numpy() == 3
        assert np.array_equal(told[step][~is_null], rank[TRAIN[rows]][~is_null])
        assert abs(is_null.mean() - drop) < 4 * (drop * (1 - drop) / 200) ** 0.5 + 1e-9
    note = artifacts.read_provenance(files["weights"])
    assert note["model"]["num_classes"] == 3
    assert note["conditioner"] == {"name": "label", "classes": [5, 6, 7]}


@pytest.mark.parametrize("condition", ["label", "text"])
def test_a_state_is_told_what_the_experts_were_told(condition, inputs, tmp_path, monkeypatch):
    told = labels_told(monkeypatch)
    run("router", tmp_path, spec("velocity", condition=condition), **inputs)
    table = stored(inputs)[0]
    index = artifacts.read_table(inputs["index"])
    fit = table[table["split"] == "fit"]
    states_of = [stream("velocity", step).integers(len(fit), size=8) for step in range(4)]
    chosen = [fit.iloc[rows] for rows in states_of]
    chosen += [table[table["split"] == part] for part in ("calibrate", "report")]
    assert len(told) == len(chosen)
    for said, of in zip(told, chosen, strict=True):
        label = index["label"].to_numpy()[of["row"]]
        if condition == "label":
            expected = np.where(of["is_null"], 3, label - 5)
        else:  # "label 5": of the words 5, 6, 7, label
            words = (label[:, None] == [5, 6, 7]).astype(int)
            expected = np.c_[words, np.ones(len(of))] * ~of["is_null"].to_numpy()[:, None]
        np.testing.assert_array_equal(said, expected)


def test_what_is_told_is_believed(tmp_path, rng):
    # The label is the cluster: told it, a router knows at pure noise; told nothing, the prior.
    images, clusters = blobs()
    data = make_data(tmp_path, images, is_train(), labels=clusters, clusters=clusters)
    inputs = data | make_probe(tmp_path, data, EXPERTS)
    options = {"condition": "label", "drop": 0.4, "steps": 80, "batch_size": 64}
    rate = {"learning_rate": 1e-2, "ema": 0.9}
    files = run("router", tmp_path, spec(**options | rate), **inputs)
    net, x, t = network(files), torch.randn(100, *SHAPE, generator=rng), torch.ones(100)
    conditioner = from_metadata(artifacts.read_provenance(files["weights"])["conditioner"])
    for k in range(2):
        p = net(x, t, conditioner(np.full(100, k), [""] * 100)).softmax(1)
        assert p[:, k].mean() > 0.95
    assert (net(x, t).softmax(1).mean(0) - WEIGHTS).abs().max() < 0.1


# From another router.


@pytest.fixture(scope="module")
def other(quick):
    return {"start": quick["soft_cluster"]["weights"]}


def test_without_steps_it_is_the_other_router_with_its_own_temperatures(
    other, inputs, quick, tmp_path
):
    options = {"steps": 0, "start": "other", "temperature": "nll"}
    files = run("router", tmp_path, spec(**options), **inputs, **other)
    first, second = (artifacts.read_arrays(p) for p in (other["start"], files["weights"]))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert content(files["report"]) == content(quick["soft_cluster"]["report"])
    note = artifacts.read_provenance(files["weights"])
    assert len(note["temperatures"]) == 10
    assert artifacts.read_provenance(other["start"])["temperatures"] is None
    loss = artifacts.read_table(files["loss"])
    assert list(loss) == ["step", "images", "loss"] and loss.empty


def test_training_goes_on_from_the_weights_of_the_other(
    other, inputs, quick, tmp_path, monkeypatch
):
    batches = heard(monkeypatch, "soft_cluster")
    files = run("router", tmp_path, spec("soft_cluster", start="other"), **inputs, **other)
    net, kind = network({"weights": other["start"]}), OBJECTIVES["soft_cluster"]()
    monkeypatch.undo()
    assert first_loss(files) == pytest.approx(kind(net, batches[0]).item(), rel=1e-6)
    assert abs(first_loss(files) - first_loss(quick["soft_cluster"])) > 1e-4
    # Other batches than those that the other router has seen.
    rng = stream("soft_cluster from other")
    rng.integers(NUM_TRAIN, size=8)
    assert np.array_equal(batches[0].t, rng.random(8, np.float32))


@pytest.mark.parametrize(
    ("options", "differ"),
    [
        ({"width": 8}, r"width \(16, here 8\)"),
        ({"depth": 2}, r"depth \(1, here 2\)"),
        ({"condition": "label"}, r"num_classes \(None, here 3\)"),
        ({"condition": "text"}, r"text_dim \(None, here 4\)"),
    ],
)
def test_another_architecture_is_refused(options, differ, other, inputs, tmp_path):
    message = f"routers.r.start: wanted a router of the same architecture, got another {differ}"
    with refused(message):
        run("router", tmp_path, spec(start="other", **options), **inputs, **other)


# Objectives of other packages.


PACKAGE = '''
from dataclasses import dataclass
from typing import ClassVar

from torch.nn.functional import one_hot


@dataclass(frozen=True)
class Brier:
    """Squared distance of p from the true cluster."""

    reads: ClassVar[str] = "images"
    weight: float = 1.0

    def __call__(self, logits, batch):
        p = logits(batch.x, batch.t).softmax(1)
        return self.weight * (p - one_hot(batch.cluster, p.shape[1])).square().sum(1).mean()


class Elsewhere(Brier):
    reads = "tea leaves"
'''
ENTRIES = "[routing.objectives]\nbrier = third_party:Brier\nelsewhere = third_party:Elsewhere\n"


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    """A package of somebody else, installed in a folder of its own."""
    folder = tmp_path / "site"
    info = folder / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "third_party.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("third_party", None)


def test_an_objective_of_another_package_trains_a_router(third_party, inputs, tmp_path):
    # Logits 0 are p = 1/2 :  2 * 2 * (1/2)^2 = 1
    kind = spec({"name": "brier", "weight": 2.0})
    resolved = choices.resolve(TABLE, kind["router"], "routers.r")
    assert resolved["objective"] == {"name": "brier", "weight": 2.0}
    words = []
    for name, files in inputs.items():
        files = files if isinstance(files, list) else [files]
        words += ["--in", f"{name}={files[0]}", *map(str, files[1:])]
    outputs = {"weights": "safetensors", "loss": "parquet", "report": "parquet"}
    outputs |= {"reliability": "parquet"}
    made = {name: tmp_path / f"{name}.{kind}" for name, kind in outputs.items()}
    for name, path in made.items():
        words += ["--out", f"{name}={path}"]
    command = [sys.executable, "-m", "routing", "router", *words, "--spec", json.dumps(kind)]
    paths = os.pathsep.join([str(third_party), str(code_digest.PACKAGE.parent)])
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert first_loss(made) == pytest.approx(1.0, rel=1e-6)
    assert artifacts.read_table(made["loss"])["loss"].nunique() == 4
    again = run("router", tmp_path / "here", kind, **inputs)
    assert content(again["loss"]) == content(made["loss"])


def test_an_objective_that_reads_what_is_not_there_is_refused(third_party, inputs, tmp_path):
    message = "routers.r.objective: wanted `reads` of 'elsewhere' to be one of images, probe, got"
    with refused(message):
        run("router", tmp_path, spec("elsewhere"), **inputs)


def test_points_are_refused(tmp_path):
    points = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    data = make_data(tmp_path, points, np.arange(40) % 2 == 0)
    made = make_probe(tmp_path, data, [lambda x, t: x], 40)
    with refused("a transformer wants square images"):
        run("router", tmp_path, spec(num_experts=1), **data, **made)
