"""The stage arm_metrics: one arm, every metric, its replicates, draws and scores."""

import numpy as np
import pandas as pd
import pytest
import torch
from measured import ARMS, CENTROIDS, LIST, NUM, World
from stages import make, refused

from routing.config.checks.metric_names import row_names, row_pattern
from routing.metrics.formulas.frechet_distance import FrechetReference, frechet_distance
from routing.metrics.formulas.inception_score import inception_score, torch_fidelity_order
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.formulas.memorisation import CopyReference, copy_metrics
from routing.metrics.formulas.sample_size_extrapolation import extrapolate
from routing.statistics.bootstrap import bootstrap_counts
from routing.workflow import artifacts
from routing.workflow.seeds import stream

ALEX = {"net": "alex", "within": "all", "weights": None, "sha256": None}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path, ARMS)


def scored(world, arm="good", **spec):
    shared = world.inputs()
    fitted = world.fit_references(shared, **{"list": LIST} | spec)
    files = world.arm_metrics(arm, fitted, shared, **spec)
    return {name: artifacts.read_table(path) for name, path in files.items()}


def tensor(array):
    return torch.from_numpy(array).double()


def test_copies_of_any_training_image_are_found_whatever_pairs_are_made_of(world, monkeypatch):
    """From shards, in the space of the metric, which need not be the first one searched."""
    monkeypatch.setattr("routing.loading.metric_inputs.TRAIN_BLOCK", 9)
    train = world.real["features"][world.is_train]
    world.drawn["good"]["features"] = train[:NUM].copy()
    unseen = world.real["features"][~world.is_train]
    world.drawn["shifted"]["features"] = np.concatenate([unseen, unseen])[:NUM]
    chosen = [{"name": "copies"}]
    shared = world.inputs()
    fitted = world.fit_references(shared, list=chosen, num_references=10)
    position = world.real_features("position", {"features": world.position})
    toy = world.real_features("toy", world.real)
    given = {"real": [position, toy]}
    for arm in ("good", "shifted"):
        files = world.arm_metrics(
            arm,
            fitted,
            shared,
            list=chosen,
            nearest_feature_spaces=["position", "toy"],
            given=given,
        )
        table = artifacts.read_table(files["replicates"]).query("block == -1").set_index("metric")
        found = table["value"].to_dict()
        if arm == "good":
            assert found == {"copy_ratio_toy": 0, "authenticity_toy": 0}
            continue
        x = world.drawn[arm]["features"]
        expected = copy_metrics(
            tensor(x),
            CopyReference.fit(
                lambda: iter([tensor(train)]),
                tensor(artifacts.read_arrays(fitted["toy"]["heldout"])["features"]),
            ),
            torch.ones(1, NUM),
        )
        assert 0.5 < found["copy_ratio_toy"] and 0.1 < found["authenticity_toy"] < 1
        for name, value in expected.items():
            assert found[f"{name}_toy"] == pytest.approx(value.item(), rel=1e-12)
    with refused("real-toy.safetensors: .* wanted feature extractor position, got toy"):
        given = {"real": [toy, position]}
        chosen = [{"name": "copies", "feature_space": "position"}]
        files = world.fit_references(shared, list=[{"name": "copies"}])
        world.arm_metrics(
            "good",
            files,
            shared,
            list=chosen,
            nearest_feature_spaces=["position", "toy"],
            given=given,
        )


def test_draws_are_the_metric_of_resampled_seeds(world):
    found = scored(world, num_bootstrap=30)["bootstrap"]
    counts = bootstrap_counts(NUM, 30, stream(7, "bootstrap", NUM))
    y = KernelReference.fit(tensor(world.real["features"][world.is_train]))
    x = tensor(world.drawn["good"]["features"])
    mine = found[found["metric"] == "kd_toy"]
    assert mine["draw"].tolist() == list(range(30))
    np.testing.assert_allclose(mine["value"], kernel_distance(x, y, counts), rtol=1e-9)
    draws = {arm: scored(world, arm)["bootstrap"] for arm in ("good", "shifted")}
    share = "cluster_share_0"
    for table in draws.values():  # the same seeds in both
        assert len(table[table["metric"] == share]) == 20
    assert not set(found["metric"]) & {"recall_toy", "energy_toy"}  # these do not resample


def test_clusters_are_found_in_blocks(world, monkeypatch):
    chosen = {"list": [{"name": "cluster_shares"}]}
    whole = scored(world, **chosen)["replicates"]
    monkeypatch.setattr("routing.loading.metric_inputs.BLOCK", 7)
    pd.testing.assert_frame_equal(scored(world, **chosen)["replicates"], whole)


def test_without_draws_the_table_is_empty_but_has_its_columns(world):
    found = scored(world, num_bootstrap=0)
    assert found["bootstrap"].empty
    assert list(found["bootstrap"])[:4] == ["metric", "training_seed", "draw", "value"]


def test_scores_are_per_seed_and_their_mean_is_the_metric(world):
    said = world.drawn["good"]["logits"].argmax(1)
    world.drawn["good"]["requested"] = np.where(np.arange(NUM) % 5 == 0, (said + 1) % 3, said)[
        :, None
    ]
    found = scored(world, list=[{"name": "agreement"}])
    scores = found["scores"]
    assert scores["seed"].tolist() == list(range(NUM))
    assert scores["value"].tolist() == [float(i % 5 != 0) for i in range(NUM)]
    value = found["replicates"].query("block == -1")["value"].item()
    assert value == pytest.approx(scores["value"].mean())


def test_a_number_of_samples_is_in_the_name_and_means_the_first_seeds(world):
    chosen = [{"name": "frechet", "num_samples": 16}, {"name": "frechet"}]
    found = scored(world, list=chosen)["replicates"].query("block == -1").set_index("metric")
    assert list(found.index) == ["fd_toy_16", "fd_toy"]
    y = FrechetReference.fit(tensor(world.real["features"][world.is_train]))
    x = tensor(world.drawn["good"]["features"][:16])
    value = frechet_distance(x, y, torch.ones(1, 16))[0].item()
    assert found.loc["fd_toy_16", "value"] == pytest.approx(value, rel=1e-9)
    assert found["num_samples"].tolist() == [16, NUM]


def test_the_first_seeds_are_those_of_each_training(world):
    again = World(world.folder / "again", {"good": ARMS["good"]}, seed=3)
    for of, more in (
        (world.drawn["good"], again.drawn["good"]),
        (world.arm_positions, again.arm_positions),
    ):
        for name in more:
            of[name] = np.concatenate([of[name], more[name]])
    chosen = [{"name": "frechet", "num_samples": 16}]
    found = scored(world, list=chosen, num_training_seeds=2)["replicates"].query("block == -1")
    y = FrechetReference.fit(tensor(world.real["features"][world.is_train]))
    parts = [tensor(world.drawn["good"]["features"][a : a + 16]) for a in (0, NUM)]
    truth = [frechet_distance(x, y, torch.ones(1, 16))[0].item() for x in parts]
    assert found["value"].tolist() == pytest.approx(truth, rel=1e-9)


def test_shares_of_classes_are_beside_those_of_the_labels(world):
    """Which are not those of the clusters here."""
    world.labels[:] = np.repeat([4, 5, 9], [10, 20, 60])
    table = scored(world, list=[{"name": "class_shares"}])["replicates"].query("block == -1")
    q = np.unique(world.labels[world.is_train], return_counts=True)[1] / world.is_train.sum()
    p = np.bincount(world.drawn["good"]["logits"].argmax(1), minlength=3) / NUM
    found = table.set_index("metric")["value"]
    assert found["class_tv"] == pytest.approx(abs(p - q).sum() / 2) and found["class_tv"] > 0.3


def test_more_samples_than_there_are_is_an_error_but_for_held_out_images(world):
    chosen = [{"name": "frechet", "num_samples": NUM + 8}, {"name": "kernel"}]
    with refused(f"metrics.list: wanted {NUM + 8} samples, got {NUM} of arm 'good'"):
        scored(world, list=chosen)
    shared = world.inputs()
    fitted = world.fit_references(shared, list=chosen)
    unseen = [fitted[space]["heldout"] for space in ("position", "toy")]
    files = world.arm_metrics("heldout", fitted, shared, unseen, list=chosen)
    assert set(artifacts.read_table(files["replicates"])["metric"]) == {"kd_toy"}
    assert artifacts.read_table(files["bootstrap"]).empty
    just = [{"name": "kernel", "num_samples": 24}]  # as many as there are
    files = world.arm_metrics("heldout", fitted, shared, unseen, list=just)
    assert set(artifacts.read_table(files["replicates"])["metric"]) == {"kd_toy_24"}
    for arm in ("good", "heldout"):
        features = unseen if arm == "heldout" else None
        files = world.arm_metrics(arm, fitted, shared, features, list=[{"name": "kernel"}])
        blocks = artifacts.read_table(files["replicates"])["block"]
        assert blocks.tolist() == list(range(-1, 8))


@pytest.mark.parametrize(
    ("num", "left"),
    [
        (24, ["fd_toy", "recall", "fd_infinity_toy", "is", "vendi_toy"]),
        (4, ["fd_toy", "recall", "fd_infinity_toy", "vendi_toy"]),  # 3 in a replicate
        (3, ["fd_toy", "vendi_toy"]),
        (2, ["vendi_toy"]),
        (1, []),
    ],
)
def test_what_few_held_out_images_cannot_give_is_left_out_and_said(num, left, world, capsys):
    """Never of an arm."""
    chosen = [
        {"name": "frechet"},
        {"name": "neighbours", "k_precision": 2},
        {"name": "frechet_infinity"},
        {"name": "inception_score", "num_splits": 5},
        {"name": "vendi"},
    ]
    shared = world.inputs()
    fitted = world.fit_references(shared, list=chosen)
    unseen = []
    for space in ("position", "toy"):
        arrays = artifacts.read_arrays(fitted[space]["heldout"])
        few = {name: array[:num] for name, array in arrays.items()}
        if space == "toy":
            few["inception_logits"] = few["logits"]
        path = world.folder / f"few-{space}.safetensors"
        unseen.append(
            make("reference_statistics", path, few, feature_space=world.feature_metadata(space))
        )
    files = world.arm_metrics("heldout", fitted, shared, unseen, list=chosen)
    found = set(artifacts.read_table(files["replicates"])["metric"])
    names = {"is": "inception_score_toy_splits5", "recall": "recall_toy_k2"}
    assert found & {"fd_toy", "fd_infinity_toy", "vendi_toy", *names.values()} == {
        names.get(name, name) for name in left
    }
    lines = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert len(lines) == 5 - len(left)
    assert all(": left out, arm 'heldout', metric '" in line for line in lines)
    with refused("^arm 'good', metric 'neighbours': samples: wanted at least 61 rows, got 40"):
        scored(world, list=[{"name": "neighbours", "k_precision": 60}])


def test_trainings_of_held_out_images_are_one(world):
    shared = world.inputs()
    fitted = world.fit_references(shared, list=[{"name": "kernel"}])
    unseen = [fitted[space]["heldout"] for space in ("position", "toy")]
    chosen = {"list": [{"name": "kernel"}], "num_training_seeds": 2}
    files = world.arm_metrics("heldout", fitted, shared, unseen, **chosen)
    found = artifacts.read_table(files["replicates"])
    assert (found["training_seed"] == 0).all() and (found["num_samples"] == 24).all()
    assert len(found) == 9


def test_subsets_are_in_one_random_order_of_the_seeds(world):
    """Of all arms alike, and its own for each number of samples."""
    chosen = [{"name": "frechet_infinity"}, {"name": "frechet_infinity", "num_samples": 32}]
    found = scored(world, list=chosen)["replicates"].query("block == -1").set_index("metric")
    y = FrechetReference.fit(tensor(world.real["features"][world.is_train]))
    for name, num in (("fd_infinity_toy", NUM), ("fd_infinity_toy_32", 32)):
        x = tensor(world.drawn["good"]["features"][:num])
        order = torch.from_numpy(stream(7, "extrapolation", num).permutation(num))
        of_weights = lambda w, x=x: frechet_distance(x, y, w)  # noqa: E731
        value = extrapolate(of_weights, order, torch.ones(1, num).double())
        assert found.loc[name, "value"] == pytest.approx(value.item(), rel=1e-9)


def test_the_inception_score_is_of_the_logits_of_inception(world):
    logits = np.random.default_rng(2).normal(size=(NUM, 9)).astype(np.float32)
    world.drawn["good"]["inception_logits"] = logits
    chosen = [{"name": "inception_score", "num_splits": 4}]
    found = scored(world, list=chosen)["replicates"].query("block == -1")
    order = torch_fidelity_order(NUM)
    value = inception_score(torch.from_numpy(logits), order, 4, torch.ones(1, NUM))
    assert found["metric"].tolist() == ["inception_score_toy_splits4"]
    assert found["value"].item() == pytest.approx(value.item(), rel=1e-9)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("extractor", "x", "wanted feature extractor position, got x"),
        ("weights", "0", "wanted weights None, got 0"),
        ("resize", "x", "wanted resize rule None, got x"),
        ("precision", "x", "wanted precision float32, got x"),
        ("image", [3, 8, 8], r"wanted image shape \[1, 8, 8\], got \[3, 8, 8\]"),
    ],
)
def test_features_of_another_space_are_refused(world, key, value, word):
    noted = World.feature_metadata
    shared = world.inputs()
    fitted = world.fit_references(shared)
    world.feature_metadata = lambda name: noted(world, name) | {key: value}
    with refused(word):
        world.arm_metrics("good", fitted, shared)


@pytest.mark.parametrize("feature_space", ["position", "toy"])
@pytest.mark.parametrize("num", [0, 8, NUM - 1, NUM + 8])
def test_another_number_of_samples_than_promised_is_refused(feature_space, num, world):
    """Arms of other sizes are not paired; nor may the rows of a later training be taken."""
    of = world.arm_positions if feature_space == "position" else world.drawn["good"]
    for name in ["good"] if feature_space == "position" else list(of):
        of[name] = np.concatenate([of[name]] * 2)[:num]
    word = rf"wanted 40 rows of .* \(1 x 40 samples of arm 'good'\), got {num}; delete"
    with refused(f"/{feature_space[0]}-good.safetensors: {word}"):
        scored(world)


def test_held_out_images_are_as_many_in_all_spaces(world):
    shared = world.inputs()
    fitted = world.fit_references(shared)
    unseen = [fitted["position"]["heldout"]] + world.features("good")[1:]
    with refused(r"/t-good.safetensors: wanted 24 rows of .* arm 'heldout'\), got 40"):
        world.arm_metrics("heldout", fitted, shared, unseen)


def test_features_without_a_note_of_their_space_or_without_any_are_damaged(world):
    shared = world.inputs()
    fitted = world.fit_references(shared)
    files = world.features("good")
    make("sample_features", files[1], world.drawn["good"])
    with refused("t-good.safetensors is damaged .it has no metadata 'feature_space'.; delete it"):
        world.arm_metrics("good", fitted, shared, files)
    logits = {"logits": world.drawn["good"]["logits"]}
    make("sample_features", files[1], logits, feature_space=world.feature_metadata("toy"))
    with refused("t-good.safetensors is damaged .it has no array 'features'.; delete it"):
        world.arm_metrics("good", fitted, shared, files)


def test_a_metric_that_refuses_is_named_with_its_arm(world):
    with refused("^arm 'good', metric 'inception_score': num_splits: wanted 1..40 .samples., got"):
        world.drawn["good"]["inception_logits"] = world.drawn["good"]["logits"]
        scored(world, list=[{"name": "inception_score", "num_splits": 50}])


def test_no_held_out_images_are_refused(world):
    shared = world.inputs()
    fitted = world.fit_references(shared)
    none = {"features": np.zeros((0, 2), np.float32)}
    path = make(
        "reference_statistics",
        world.folder / "none.safetensors",
        none,
        feature_space=world.feature_metadata("position"),
    )
    with refused("/none.safetensors: wanted images, got none; raise data.heldout_fraction"):
        world.arm_metrics("heldout", fitted, shared, [path, path])


def test_what_few_samples_are_worth_is_noted(world):
    found = scored(world, list=[{"name": "frechet"}, {"name": "kernel"}])["replicates"]
    notes = found.groupby("metric")["note"].first()
    assert notes["fd_toy"].startswith("40 samples in 3 dimensions leave a bias")
    assert not notes["kd_toy"]


def test_how_many_training_images_pairs_are_made_with_is_noted_if_not_all(world):
    chosen = [{"name": "frechet"}, {"name": "kernel"}, {"name": "neighbours"}]
    chosen += [{"name": n} for n in ("energy", "cmmd", "copies", "cluster_recall", "vendi")]
    total = int(world.is_train.sum())
    found = scored(world, list=chosen, num_references=30)["replicates"]
    notes = found.groupby("metric")["note"].first()
    said = f"with 30 of {total} training images"
    of_all = {
        "fd_toy",
        "copy_ratio_toy",
        "authenticity_toy",
        "vendi_toy",
    }  # which has no reference
    assert {metric for metric, note in notes.items() if said not in note} == of_all
    for num in (None, total):
        notes = scored(world, list=chosen, num_references=num)["replicates"]["note"]
        assert not notes.str.contains("training images").any()


def test_rows_are_called_as_the_config_foresees(world):
    """All that names stand for is written, and nothing else."""
    metrics = {"feature_space": "toy", "reference_arm": "good", "lpips": None}
    plain = ["frechet", "kernel", "energy", "cmmd", "vendi", "copies", "frechet_infinity"]
    chosen = [{"name": name} for name in plain]
    chosen += [{"name": "neighbours", "k_density": 2, "num_samples": 32}]
    chosen += [{"name": name} for name in ("class_shares", "cluster_shares", "cluster_recall")]
    chosen += [{"name": name} for name in ("cluster_kernel", "cluster_frechet", "agreement")]
    world.drawn["good"]["requested"] = np.arange(NUM)[:, None] % 3
    found = scored(world, list=chosen)["replicates"]["metric"].unique()
    foreseen = {row for entry in chosen for row in row_names(entry, metrics, "metrics.list")}
    assert set(map(row_pattern, found)) == foreseen


def test_distances_cluster_by_cluster_are_of_the_nearest_centroids(world):
    """Of samples and images alike, whatever the partition's own division and num_references."""
    chosen = {"list": [{"name": "cluster_kernel"}], "num_references": 40}
    found = scored(world, **chosen)["replicates"].query("block == -1").set_index("metric")
    train = np.flatnonzero(world.is_train)
    rows = np.sort(stream(7, "references").choice(train, 40, replace=False))
    near = [
        np.linalg.norm(position[:, None] - CENTROIDS, axis=-1).argmin(1)
        for position in (world.arm_positions["good"], world.position[rows])
    ]
    x, y = tensor(world.drawn["good"]["features"]), tensor(world.real["features"][rows])
    each = []
    for k in range(3):
        mine, theirs = x[near[0] == k], KernelReference.fit(y[near[1] == k])
        each.append(kernel_distance(mine, theirs, torch.ones(1, len(mine)))[0].item())
        assert found["value"][f"kd_toy_cluster_{k}"] == pytest.approx(each[-1], rel=1e-9)
    assert found["value"]["kd_toy_cluster_worst"] == pytest.approx(max(each), rel=1e-9)
    assert (found["note"] == f"with 40 of {len(train)} training images").all()


def test_captions_are_those_that_were_asked_for(world, tmp_path):
    """CLIP score: the caption of sample i is that of its prompt, however the table is ordered."""
    rng = np.random.default_rng(3)
    prompts = rng.integers(0, 90, NUM)
    world.drawn["good"]["prompts"] = prompts[:, None]
    captions = pd.DataFrame({"caption": ["a 5", "a 9", "a 4"], "is_cut": False})
    texts, depicted = rng.normal(size=(2, 3, 3)).astype(np.float32)
    shared = world.inputs()
    fitted = world.fit_references(shared, list=[])
    arrays = {"features": texts, "depicted": depicted}
    given = {
        "clip_score_captions": [make("clip_score_captions", tmp_path / "t.safetensors", arrays)],
        "captions": [make("clip_score_captions", tmp_path / "t.parquet", captions)],
    }
    files = world.arm_metrics(
        "good",
        fitted,
        shared,
        list=[{"name": "clip_score"}],
        caption_feature_spaces=["toy"],
        given=given,
    )
    table = artifacts.read_table(files["scores"])
    scores, hessel = (
        table.loc[table["metric"] == f"{kind}_toy", "value"].to_numpy()
        for kind in ("clip_score", "clip_score_hessel")
    )
    position = {5: 0, 9: 1, 4: 2}
    assert list(dict.fromkeys(world.labels[prompts])) not in ([5, 9, 4], [4, 5, 9])
    rows = [position[label] for label in world.labels[prompts]]
    x = world.drawn["good"]["features"]

    def cos(t):
        return (x * t).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(t, axis=1)

    np.testing.assert_allclose(scores, cos(texts[rows]), rtol=1e-5)
    np.testing.assert_allclose(hessel, 2.5 * cos(depicted[rows]).clip(0), rtol=1e-5)


def lpips_inputs(folder, num_training_seeds=1, is_compared=True, seed=4):
    """The tables of the stage lpips, the distances of all pairs, and to the baseline."""
    rng = np.random.default_rng(seed)
    i, j = np.triu_indices(NUM, 1)
    block = np.arange(NUM) // 5
    pairs, scores, distances, to = [], [], [], []
    for training in range(num_training_seeds):
        distance = rng.random(len(i))
        table = pd.DataFrame({"block_a": block[i], "block_b": block[j], "total": distance})
        table = table.groupby(["block_a", "block_b"], as_index=False).agg(
            total=("total", "sum"), num_pairs=("total", "size")
        )
        to.append(rng.random(NUM) if is_compared else np.full(NUM, np.nan))
        score = {"seed": np.arange(NUM), "group": 0, "to_baseline": to[-1]}
        pairs.append(table.assign(training_seed=training))
        scores.append(pd.DataFrame({"training_seed": training} | score))
        distances.append(distance)
    given = {
        "pairs": make("lpips", folder / "p.parquet", pd.concat(pairs)),
        "lpips": make("lpips", folder / "s.parquet", pd.concat(scores)),
    }
    return given, distances, to, (block[i], block[j])


def test_lpips_leaves_out_the_pairs_of_a_block(world, tmp_path):
    for of in (world.arm_positions, world.drawn["shifted"]):
        for name in list(of):
            of[name] = np.concatenate([of[name]] * 2) if name != "good" else of[name]
    given, distances, to, blocks = lpips_inputs(tmp_path, num_training_seeds=2)
    shared = world.inputs()
    fitted = world.fit_references(shared, list=[])
    options = {"list": [{"name": "lpips"}], "lpips": ALEX, "given": given}
    files = world.arm_metrics("shifted", fitted, shared, num_training_seeds=2, **options)
    found = artifacts.read_table(files["replicates"])
    found = found.set_index(["metric", "training_seed", "block"])["value"].sort_index()
    for r in range(2):
        diversity = found["lpips_alex_diversity", r]
        assert diversity[-1] == pytest.approx(distances[r].mean())
        kept = (blocks[0] != 2) & (blocks[1] != 2)
        assert diversity[2] == pytest.approx(distances[r][kept].mean())
        assert found["lpips_alex_to_good", r, -1] == pytest.approx(to[r].mean())
        assert found["lpips_alex_to_good", r, 7] == pytest.approx(to[r][:35].mean())
    scores = artifacts.read_table(files["scores"])
    assert scores["training_seed"].tolist() == [0] * NUM + [1] * NUM
    assert scores["seed"].tolist() == [*range(NUM)] * 2
    assert scores["value"].tolist() == np.concatenate(to).tolist()


def test_lpips_of_an_arm_that_is_compared_with_none_is_its_diversity(world, tmp_path):
    given, *_ = lpips_inputs(tmp_path, is_compared=False)
    shared = world.inputs()
    fitted = world.fit_references(shared, list=[])
    for within, word in (("all", ""), ("condition", "_within_condition")):
        options = {"list": [{"name": "lpips"}], "given": given}
        options["lpips"] = ALEX | {"within": within}
        files = world.arm_metrics("good", fitted, shared, **options)
        names = set(artifacts.read_table(files["replicates"])["metric"])
        assert names == {f"lpips_alex_diversity{word}"}
        assert artifacts.read_table(files["scores"]).empty


def test_lpips_of_other_weights_has_another_name(world, tmp_path):
    given, *_ = lpips_inputs(tmp_path)
    shared = world.inputs()
    fitted = world.fit_references(shared, list=[])
    mine = ALEX | {"weights": "mine.pth"}
    options = {"list": [{"name": "lpips"}], "lpips": mine, "given": given}
    files = world.arm_metrics("shifted", fitted, shared, **options)
    names = {"lpips_alex_other_diversity", "lpips_alex_other_to_good"}
    assert set(artifacts.read_table(files["replicates"])["metric"]) == names
