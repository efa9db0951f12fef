"""The stage metric_tables: the mathematics, applied to the right rows, in one table."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from measured import ARMS, CENTROIDS, NUM, World
from scipy import stats
from stages import content, refused, run

from routing.metrics.formulas.energy_distance import EnergyReference, energy_distance
from routing.metrics.formulas.frechet_distance import (
    FrechetReference,
    frechet_bootstrap,
    frechet_distance,
)
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.formulas.precision_recall import NeighbourReference, neighbour_metrics
from routing.stages.metric_tables import COLUMNS, check_equal_sizes, values_by_metric
from routing.statistics.bootstrap import bootstrap_counts
from routing.statistics.comparisons import Comparison
from routing.statistics.jackknife import jackknife_interval, jackknife_weights, seed_blocks
from routing.statistics.permutation import required_num_flips, sign_flip_p_values
from routing.statistics.proportions import tango_ends
from routing.workflow import artifacts, seeds


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"), ARMS)


@pytest.fixture(scope="module")
def tables(world):
    return world.run()


def tensor(array):
    return torch.from_numpy(array).double()


def direct(features, reference, weights):
    """The values of all distances and neighbour metrics, by name, without the stage."""
    y = reference
    found = {
        "fd_toy": frechet_distance(features, FrechetReference.fit(y), weights),
        "kd_toy": kernel_distance(features, KernelReference.fit(y), weights),
        "energy_toy": energy_distance(features, EnergyReference.fit(y), weights),
    }
    near = neighbour_metrics(features, NeighbourReference.fit(y, 3, 5), weights)
    return found | {f"{name}_toy": values for name, values in near.items()}


def shares_by_hand(world, arm, kind):
    """Shares, total variation and divergence of one arm, with numpy."""

    def nearest(x):
        return np.linalg.norm(x[:, None] - CENTROIDS, axis=-1).argmin(1)

    if kind == "class":
        names = ["4", "5", "9"]
        said = world.drawn[arm]["logits"].argmax(1)
        real = np.searchsorted([4, 5, 9], world.labels[world.is_train])
    else:
        names = ["0", "1", "2"]
        said, real = nearest(world.arm_positions[arm]), nearest(world.position[world.is_train])
    p, q = (np.bincount(x, minlength=3) / len(x) for x in (said, real))
    kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)
    found = {f"{kind}_share_{name}": share for name, share in zip(names, p, strict=True)}
    found |= {f"{kind}_tv": abs(p - q).sum() / 2, f"{kind}_kl": kl}
    if kind == "cluster":
        found["cluster_coverage"] = min(a / b for a, b in zip(p, q, strict=True))
    return found


def values(table, arm):
    return table[table["arm"] == arm].set_index("metric")


def test_the_columns_are_the_promised_ones(tables):
    _, metrics, differences = tables
    errors = ["se_sampling", "se_training", "num_samples", "num_training_seeds"]
    assert (
        list(metrics) == ["run", "arm", "metric", "value", "lo", "hi", *errors, "note"] == COLUMNS
    )
    assert (metrics["num_training_seeds"] == 1).all() and metrics["se_training"].isna().all()
    assert list(differences) == [*COLUMNS[:2], "reference", *COLUMNS[2:-1]]
    assert metrics["arm"].unique().tolist() == ["heldout", *ARMS]
    assert differences["arm"].unique().tolist() == ["shifted", "collapsed"]
    assert (metrics["run"] == "test").all() and (differences["reference"] == "good").all()
    assert (values(metrics, "good")["num_samples"] == NUM).all()
    assert (differences["num_samples"] == NUM).all()
    assert not metrics.duplicated(["arm", "metric"]).any()


@pytest.mark.parametrize("arm", ARMS)
def test_distances_are_those_of_the_mathematics(arm, world, tables):
    table = values(tables[1], arm)
    weights = jackknife_weights(seed_blocks(NUM, 8))
    y = tensor(world.real["features"][world.is_train])
    for name, replicates in direct(tensor(world.drawn[arm]["features"]), y, weights).items():
        found = table.loc[name, ["value", "lo", "hi"]].tolist()
        expected = list(jackknife_interval(replicates[None]))[:3]
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert found[1] <= found[0] <= found[2]


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("kind", ["class", "cluster"])
def test_shares_are_those_of_numpy(arm, kind, world, tables):
    table = values(tables[1], arm)
    for name, value in shares_by_hand(world, arm, kind).items():
        assert table["value"][name] == pytest.approx(value, abs=1e-12)


def test_every_metric_and_no_other_is_in_the_table(world, tables):
    one = jackknife_weights(seed_blocks(NUM, 8))
    x = tensor(world.drawn["good"]["features"])
    names = {*direct(x, x, one)}
    names |= {*shares_by_hand(world, "good", "class"), *shares_by_hand(world, "good", "cluster")}
    for arm in ARMS:  # none of which was asked for anything
        assert set(values(tables[1], arm).index) == names
    assert set(values(tables[1], "heldout").index) == names | {"agreement_toy"}


def test_differences_are_the_paired_jackknife_by_hand(world, tables):
    y = FrechetReference.fit(tensor(world.real["features"][world.is_train]))

    def distance(arm, kept):
        x = tensor(world.drawn[arm]["features"])[kept]
        return frechet_distance(x, y, torch.ones(1, len(x)))[0].item()

    def difference(kept):
        return distance("shifted", kept) - distance("good", kept)

    blocks = np.arange(NUM) // 5
    left = np.array([difference(blocks != b) for b in range(8)])
    se = math.sqrt(7 / 8 * ((left - left.mean()) ** 2).sum())
    half, value = stats.t.ppf(0.975, 7) * se, difference(blocks >= 0)
    row = values(tables[2], "shifted").loc["fd_toy"]
    assert row[["value", "lo", "hi"]].tolist() == pytest.approx(
        [value, value - half, value + half], rel=1e-8
    )
    for arm in ("shifted", "collapsed"):
        ours, base = values(tables[1], arm)["value"], values(tables[1], "good")["value"]
        expected = (ours - base).loc[values(tables[2], arm).index]
        np.testing.assert_allclose(values(tables[2], arm)["value"], expected, atol=1e-12)


def test_comparisons_are_of_every_pair_of_arms(world, tables):
    found = artifacts.read_table(tables[0]["comparisons"])
    assert list(found)[:4] == ["run", "metric", "arm", "other"] and (found["run"] == "test").all()
    assert found["metric"].unique().tolist() == [
        m for m in tables[1]["metric"].unique() if m != "agreement_toy"
    ]
    pairs = [["shifted", "good"], ["collapsed", "good"], ["shifted", "collapsed"]]
    y = tensor(world.real["features"][world.is_train])
    weights = jackknife_weights(seed_blocks(NUM, 8))
    counts = bootstrap_counts(NUM, 20, seeds.stream(7, "bootstrap", NUM))
    reference, values = FrechetReference.fit(y), {}
    for arm in ARMS:
        x = tensor(world.drawn[arm]["features"])
        draws = frechet_bootstrap(x, reference, counts)
        values[arm] = frechet_distance(x, reference, weights), draws
    rows = found[found["metric"] == "fd_toy"]
    assert rows[["arm", "other"]].to_numpy().tolist() == pairs
    for row in rows.itertuples():
        (a, of_a), (b, of_b) = values[row.arm], values[row.other]
        value, lo, hi, se = jackknife_interval((a - b)[None])[:4]
        assert [row.value, row.lo, row.hi, row.se_sampling] == pytest.approx([value, lo, hi, se])
        assert row.se_bootstrap == pytest.approx((of_a - of_b).std().item())
        assert row.p == pytest.approx(2 * stats.t.sf(abs(value / se), 7))
        assert row.test == "seed blocks"
    p = rows["p"].to_numpy()
    assert rows["p_holm_reference"][:2].tolist() == pytest.approx(
        [min(1, 2 * p[0]), max(min(1, 2 * p[0]), p[1])]
        if p[0] <= p[1]
        else [max(min(1, 2 * p[1]), p[0]), min(1, 2 * p[1])]
    )
    drawn = ["se_bootstrap", "lo_bootstrap", "hi_bootstrap"]
    assert found.loc[found["metric"] == "energy_toy", drawn].isna().all(axis=None)  # no draws
    assert rows[drawn].notna().all(axis=None)


def test_two_arms_are_one_pair_and_one_is_none(tmp_path):
    columns = ["run", "metric", *Comparison._fields]
    for num in (2, 1):
        world = World(tmp_path / f"{num}", {name: ARMS[name] for name in list(ARMS)[:num]})
        found = artifacts.read_table(world.run(list=[{"name": "kernel"}])[0]["comparisons"])
        assert list(found) == columns
        pairs = found[["metric", "arm", "other"]].to_numpy().tolist()
        assert pairs == [["kd_toy", "shifted", "good"]][: num - 1]


def test_tables_are_read_in_the_order_of_trainings_and_blocks():
    rows = [(1, 0, 5.0), (0, 1, 3.0), (1, -1, 4.0), (0, -1, 1.0), (1, 1, 6.0), (0, 0, 2.0)]
    table = pd.DataFrame(rows, columns=["training_seed", "block", "value"]).assign(metric="fd")
    assert values_by_metric(table, "block")["fd"].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_fractions_of_the_samples_are_compared_by_mcnemars_test(tmp_path):
    world = World(tmp_path, ARMS)
    requested = {}
    for i, arm in enumerate(ARMS):
        said = world.drawn[arm]["logits"].argmax(1)
        wrong = np.random.default_rng(i).random(NUM) < 0.2 * (i + 1)
        world.drawn[arm]["requested"] = np.where(wrong, (said + 1) % 3, said)[:, None]
        requested[arm] = torch.from_numpy(~wrong).double()
    files, *_ = world.run(list=[{"name": "agreement"}])
    found = artifacts.read_table(files["comparisons"])
    rng = seeds.stream(7, "permutation", seeds.name_to_int("agreement_toy"))
    p = sign_flip_p_values(
        torch.stack([*requested.values()])[:, None], required_num_flips(3, 0.05), rng
    )
    assert found["test"].tolist() == ["McNemar"] * 3
    flipped = [p[1, 0].item(), p[2, 0].item(), p[1, 2].item()]  # the same test, by simulation
    assert found["p"].tolist() == pytest.approx(flipped, abs=0.02)
    scores = artifacts.read_table(files["scores"])
    assert list(scores) == ["arm", "metric", "training_seed", "seed", "value"]
    for arm, values in requested.items():
        mine = scores[scores["arm"] == arm]
        assert mine["value"].tolist() == values.tolist()
    replicates = artifacts.read_table(files["replicates"])
    assert list(replicates) == ["arm", "metric", "training_seed", "block", "value"]
    assert replicates["arm"].unique().tolist() == ["heldout", *ARMS]


def test_held_out_images_are_an_arm_of_their_own(world, tables):
    # 26 images in 8 blocks: 24 of them count, in random order, so that blocks are alike.
    table = values(tables[1], "heldout")
    assert (table["num_samples"] == 24).all()
    rows = np.random.default_rng(np.random.SeedSequence([7, 9, 1])).permutation(
        np.flatnonzero(~world.is_train)
    )[:24]
    y = tensor(world.real["features"][world.is_train])
    x, weights = tensor(world.real["features"][rows]), jackknife_weights(seed_blocks(24, 8))
    for name, replicates in direct(x, y, weights).items():
        assert table.loc[name, ["value", "lo", "hi"]].tolist() == pytest.approx(
            list(jackknife_interval(replicates[None]))[:3], rel=1e-9, abs=1e-12
        )
    said = world.real["logits"][rows].argmax(1)
    assert table["value"]["class_share_5"] == pytest.approx((said == 1).mean())
    nearest = np.linalg.norm(world.position[rows][:, None] - CENTROIDS, axis=-1).argmin(1)
    assert table["value"]["cluster_share_2"] == pytest.approx((nearest == 2).mean())


def test_few_held_out_images_are_blocks_of_one(tmp_path):
    world = World(tmp_path, {"good": ARMS["good"]})
    world.is_train[:] = True
    world.is_train[[3, 30, 45, 60, 75, 89]] = False
    _, table, _ = world.run(num_blocks=20)
    assert (values(table, "heldout")["num_samples"] == 6).all()
    assert (values(table, "good")["num_samples"] == NUM).all()


def test_an_arm_must_fill_its_blocks(tmp_path):
    with refused(r"num_blocks: wanted a divisor of 40 \(samples\), got 7"):
        World(tmp_path, {"good": ARMS["good"]}).run(num_blocks=7)


def test_metrics_are_the_right_way_round(tables):
    good, shifted, collapsed = (values(tables[1], arm)["value"] for arm in ARMS)
    for name in ("fd_toy", "kd_toy", "energy_toy"):
        assert good[name] < shifted[name] and good[name] < collapsed[name]
    assert collapsed["precision_toy"] > 0.95 and collapsed["recall_toy"] < 0.2
    assert good["recall_toy"] > 0.6 > shifted["recall_toy"] or good["recall_toy"] > 0.8
    assert shifted["precision_toy"] < good["precision_toy"]
    assert collapsed["coverage_toy"] < 0.7 * good["coverage_toy"]
    assert collapsed["class_tv"] > 0.15 > good["class_tv"]
    fd = tables[2].query("metric == 'fd_toy'").set_index("arm")
    assert (fd["lo"] > 0).all()  # both are worse than the reference, beyond doubt


def test_a_class_that_is_missing_has_share_zero(tables):
    row = values(tables[1], "collapsed").loc["class_share_9"]
    exact = stats.binomtest(0, NUM).proportion_ci(0.95, "exact")
    assert row[["value", "lo", "hi"]].tolist() == pytest.approx([0, 0, exact.high])
    kl = values(tables[1], "collapsed").loc["class_kl"]
    assert 0.1 < kl["value"] < 1 and kl["lo"] < kl["value"] < kl["hi"]


def test_shares_have_the_intervals_of_their_counts(world, tables):
    """Shares, their differences and the coverage, from the samples in each category."""
    q = (
        np.bincount(
            np.linalg.norm(world.position[world.is_train][:, None] - CENTROIDS, axis=-1).argmin(1)
        )
        / world.is_train.sum()
    )
    hits, worst = {}, {}
    for arm in ARMS:
        nearest = np.linalg.norm(world.arm_positions[arm][:, None] - CENTROIDS, axis=-1).argmin(1)
        hits[arm] = nearest[:, None] == np.arange(3)
        worst[arm] = (hits[arm].mean(0) / q).argmin()
        table, x = values(tables[1], arm), hits[arm].sum(0)
        for k in range(3):
            method = "exact" if min(x[k], NUM - x[k]) < 10 else "wilson"
            ends = stats.binomtest(x[k], NUM).proportion_ci(0.95, method)
            found = table.loc[f"cluster_share_{k}", ["lo", "hi"]].tolist()
            assert found == pytest.approx([ends.low, ends.high], abs=1e-12)
            if k == worst[arm]:
                found = table.loc["cluster_coverage", ["lo", "hi"]].tolist()
                assert found == pytest.approx([ends.low / q[k], ends.high / q[k]])
    pairs = artifacts.read_table(tables[0]["comparisons"])
    pairs = pairs[pairs["metric"] == "cluster_share_1"]
    assert (pairs["test"] == "McNemar").all() and (pairs["lo"] < pairs["hi"]).all()
    differences = tables[2].query("metric == 'cluster_share_1'").set_index("arm")
    for row in pairs.itertuples():
        a, b = hits[row.arm][:, 1], hits[row.other][:, 1]
        only = (a & ~b).sum(), (b & ~a).sum()
        assert row.p == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue)
        ends = tango_ends(*(np.array([float(x)]) for x in only), NUM, 0.025)
        assert [row.lo, row.hi] == pytest.approx(np.concatenate(ends).tolist())
        if row.other == "good":
            assert differences.loc[row.arm, ["lo", "hi"]].tolist() == [row.lo, row.hi]


def test_twice_the_same_whatever_was_measured_between(world, tables, tmp_path):
    other = World(tmp_path / "other", {"good": ARMS["good"]}, seed=1)
    _, between, _ = other.run()
    again, *_ = World(tmp_path / "again", ARMS).run()
    for name, path in again.items():
        assert content(path) == content(tables[0][name])
    weights = jackknife_weights(seed_blocks(NUM, 8))
    y = tensor(other.real["features"][other.is_train])
    truth = direct(tensor(other.drawn["good"]["features"]), y, weights)["fd_toy"][0]
    assert values(between, "good")["value"]["fd_toy"] == pytest.approx(truth.item(), rel=1e-12)


def test_agreement_is_the_share_of_those_in_the_class_that_was_asked_for(tmp_path):
    world = World(tmp_path, ARMS)
    said = world.drawn["shifted"]["logits"].argmax(1)
    requested = np.where(np.arange(NUM) % 4 == 0, (said + 1) % 3, said)
    world.drawn["shifted"]["requested"] = requested[:, None]
    _, table, differences = world.run(list=[{"name": "agreement"}])
    assert values(table, "shifted")["value"]["agreement_toy"] == pytest.approx(0.75)
    truth = np.searchsorted([4, 5, 9], world.labels[~world.is_train])
    right = world.real["logits"][~world.is_train].argmax(1) == truth
    assert values(table, "heldout")["value"]["agreement_toy"] == pytest.approx(
        right.mean(), abs=0.1
    )
    assert set(table["arm"]) == {"heldout", "shifted"} and differences.empty


def test_trainings_are_views_of_one_file(world, tables, tmp_path):
    """Two trainings: the halves of the rows; means, spreads and pairs by hand."""
    twice = trained_again(World(tmp_path, ARMS), World(tmp_path / "b", ARMS, seed=5))
    files, metrics, differences = twice.run(num_training_seeds=2)
    w, y = jackknife_weights(seed_blocks(NUM, 8)), tensor(world.real["features"][world.is_train])
    y = FrechetReference.fit(y)
    each = {}
    for arm in ("good", "shifted"):
        halves = tensor(twice.drawn[arm]["features"]).chunk(2)
        each[arm] = torch.stack([frechet_distance(half, y, w) for half in halves])
        row = values(metrics, arm).loc["fd_toy"]
        found = row[["value", "lo", "hi", "se_sampling", "se_training"]].tolist()
        assert found == pytest.approx(list(jackknife_interval(each[arm])), rel=1e-9)
        assert row["num_training_seeds"] == 2 and row["num_samples"] == NUM
    row = values(differences, "shifted").loc["fd_toy"]
    expected = jackknife_interval(each["shifted"] - each["good"])
    assert row[["value", "lo", "hi"]].tolist() == pytest.approx(list(expected)[:3], rel=1e-8)
    found = artifacts.read_table(files["replicates"]).query("arm == 'collapsed' and block == 0")
    position = np.split(
        twice.arm_positions["collapsed"], 2
    )  # features and arm_positions are of one training
    nearest = [np.linalg.norm(x[5:, None] - CENTROIDS, axis=-1).argmin(1) for x in position]
    share = found[found["metric"] == "cluster_share_0"]["value"]
    np.testing.assert_allclose(share, [(x == 0).mean() for x in nearest])
    assert share.nunique() == 2
    table = artifacts.read_table(files["replicates"]).query("arm == 'good' and metric == 'fd_toy'")
    wide = table.pivot(index="training_seed", columns="block", values="value").to_numpy()
    np.testing.assert_allclose(wide, each["good"].numpy(), rtol=1e-12)
    assert sorted(table["block"].unique()) == list(range(-1, 8))


def trained_again(world, again):
    """`world` after a second training, whose features are those of the world `again`."""
    for drawn, more in ((world.drawn, again.drawn), (world.arm_positions, again.arm_positions)):
        for name, one in drawn.items():
            two = more[name]
            if isinstance(one, dict):
                drawn[name] = {k: np.concatenate([one[k], two[k]]) for k in one}
            else:
                drawn[name] = np.concatenate([one, two])
    return world


def test_a_cluster_that_one_training_starves_has_no_row_and_its_siblings_say_so(tmp_path, capsys):
    starved = ARMS | {"shifted": ([0.6, 0.4, 0.0], 0.1, 0.0)}
    world = trained_again(World(tmp_path, ARMS), World(tmp_path / "b", starved, seed=5))
    chosen = [{"name": "cluster_frechet"}, {"name": "kernel"}]
    _, metrics, differences = world.run(list=chosen, num_training_seeds=2)
    every = {f"fd_toy_cluster_{k}" for k in (0, 1, 2, "worst")} | {"kd_toy"}
    assert set(values(metrics, "good").index) == every
    assert set(values(metrics, "shifted").index) == every - {
        "fd_toy_cluster_2",
        "fd_toy_cluster_worst",
    }
    assert set(values(differences, "shifted").index) == set(values(metrics, "shifted").index)
    said = "fd_toy_cluster_2, fd_toy_cluster_worst left out: available for 1 of 2 training seeds"
    notes = values(metrics, "shifted")["note"]
    assert said in notes["fd_toy_cluster_0"] and said in notes["fd_toy_cluster_1"]
    assert not notes["kd_toy"] and "left out" not in values(metrics, "good")["note"].iloc[0]
    assert f"arm_metrics shifted: {said}" in capsys.readouterr().err.splitlines()


def test_a_number_that_is_not_finite_has_no_row_and_its_siblings_say_so(tmp_path, capsys):
    world = World(tmp_path, ARMS)
    world.is_train &= world.labels != 9  # but the arms draw such
    files, metrics, differences = world.run(list=[{"name": "class_shares"}])
    said = "class_kl left out: got inf, which has no interval"
    for arm in ("good", "shifted"):
        table = values(metrics, arm)
        assert set(table.index) == {"class_share_4", "class_share_5", "class_share_9", "class_tv"}
        assert (table["note"] == said).all()
    assert "class_kl" in values(metrics, "collapsed").index  # draws none of that class
    assert not values(metrics, "collapsed")["note"].any()
    assert "class_kl" not in set(differences["metric"])
    assert f"arm_metrics good: {said}" in capsys.readouterr().err.splitlines()
    draws = artifacts.read_table(tmp_path / "scores" / "good" / "bootstrap.parquet")
    assert set(draws["metric"]) == set(values(metrics, "good").index)


def test_options_of_a_metric_count(tmp_path):
    world = World(tmp_path, {"good": ARMS["good"]})
    kinds = [{"name": "neighbours", "k_precision": k, "k_density": 2} for k in (1, 6)]
    _, few, _ = world.run(list=kinds[:1])
    _, many, _ = world.run(list=kinds[1:])
    few, many = values(few, "good")["value"], values(many, "good")["value"]
    assert few["recall_toy_k1"] < many["recall_toy_k6"]
    assert few["density_toy_k2"] == many["density_toy_k2"]
    with refused("metrics.list: density_toy_k2 is measured twice; leave one out"):
        world.run(list=kinds)


def test_a_metric_is_measured_twice_where_the_names_differ(tmp_path):
    world = World(tmp_path, {"good": ARMS["good"]})
    other = {"k_precision": 6, "k_density": 2}
    chosen = [
        {"name": name} | options
        for name in ("neighbours", "cluster_recall")
        for options in ({}, other)
    ]
    _, table, _ = world.run(list=chosen)
    found = values(table, "good")["value"]
    y = tensor(world.real["features"][world.is_train])
    x = tensor(world.drawn["good"]["features"])
    for ks, words in (((3, 5), ("", "")), ((6, 2), ("_k6", "_k2"))):
        near = neighbour_metrics(x, NeighbourReference.fit(y, *ks), torch.ones(1, NUM))
        for kind, value in near.items():
            word = words[kind in ("density", "coverage")]
            assert found[f"{kind}_toy{word}"] == pytest.approx(value.item())
        for kind, word in zip(("recall", "coverage"), words, strict=True):
            assert f"{kind}_toy{word}_cluster_worst" in found.index
    assert len(found) == 2 * (4 + 2 * 4)


@pytest.mark.parametrize(
    ("where", "key", "message"),
    [
        ("drawn", "features", "t-shifted.safetensors: wanted finite features, .* in 1 of 40"),
        ("drawn", "logits", "t-shifted.safetensors: wanted finite logits"),
        ("arm_positions", None, "p-shifted.safetensors: wanted finite features"),
        ("real", "features", "real-toy.safetensors: wanted finite features"),
    ],
)
def test_what_is_not_finite_is_refused(where, key, message, tmp_path):
    world = World(tmp_path, ARMS)
    found = getattr(world, where)
    array = found["shifted"] if where != "real" else found
    (array if key is None else array[key])[0, 1] = np.nan
    with refused(message):
        world.run()
    assert not list(tmp_path.glob("metrics*"))


def test_class_shares_want_classes(tmp_path):
    world = World(tmp_path, {"good": ARMS["good"]})
    for arrays in (world.real, world.drawn["good"]):
        del arrays["logits"]
    with refused("metrics: 'class_shares' wants a classifier with classes, got one without"):
        world.run()


def test_arms_of_other_numbers_of_samples_are_not_compared(tmp_path):
    """Even if the numbers of blocks are the same; held-out images are compared with none."""
    small = World(tmp_path, ARMS)
    shared = small.inputs()
    fitted = small.fit_references(shared, list=[])
    chosen = {"list": [{"name": "cluster_shares"}], "num_bootstrap": 0}
    files = [small.arm_metrics("good", fitted, shared, **chosen)]
    small.arm_positions["shifted"] = small.arm_positions["shifted"][:16]
    for name in small.drawn["shifted"]:
        small.drawn["shifted"][name] = small.drawn["shifted"][name][:16]
    files += [small.arm_metrics("shifted", fitted, shared, **chosen, num_samples=16)]
    unseen = [fitted[space]["heldout"] for space in ("position", "toy")]
    files = [small.arm_metrics("heldout", fitted, shared, unseen, **chosen), *files]
    given = {name: [f[name] for f in files] for name in ("replicates", "bootstrap", "scores")}
    spec = {"run": "test", "seed": 7, "arms": ["good", "shifted"], "reference_arm": "good"}
    word = "wanted as many samples of all arms, got 40 of 'good' and 16 of 'shifted'; draw"
    with refused(f"^cluster_share_0: {word}"):
        run("metric_tables", tmp_path, spec, **given)
    check_equal_sizes({"heldout": {"a": 5}, "x": {"a": 7, "b": 3}, "y": {"a": 7}})
