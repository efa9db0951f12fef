"""The index: every row of every shard once, held out by label, rejects counted."""

import numpy as np
import pandas as pd
import pytest
from stages import make, refused, run

from routing.data.train_heldout_split import split_by_label
from routing.stages.index import duplicated_ids
from routing.workflow import artifacts

SPEC = {"seed": 7, "heldout_fraction": 0.25, "max_rejected_fraction": 0.2}


def shard(folder, number, ids, labels, rejected=(), **more):
    folder.mkdir(exist_ok=True)
    rows = pd.DataFrame({"source_id": ids, "label": labels, "row": np.arange(len(ids))})
    rows["caption"], rows["licence"] = [f"a {i}" for i in ids], "CC0"
    lost = pd.DataFrame(rejected, columns=["source_id", "reason"], dtype=object)
    return (
        make("data", folder / f"rows-{number}.parquet", rows.assign(**more), licence=["CC0"]),
        make("data", folder / f"rejected-{number}.parquet", lost),
    )


def indexed(folder, shards, **spec):
    rows, rejected = zip(*shards, strict=True)
    return run("index", folder, SPEC | spec, rows=rows, rejected=rejected)


def ids(letter, num):
    return [f"{letter}{i}" for i in range(num)]


def test_rows_are_in_the_order_of_the_shards(tmp_path):
    parts = [shard(tmp_path, 0, ids("a", 5), 0), shard(tmp_path, 1, ids("b", 7), 1)]
    files = indexed(tmp_path, parts)
    index = artifacts.read_table(files["index"])
    assert index["sample_id"].tolist() == list(range(12))
    assert index["source_id"].tolist() == ids("a", 5) + ids("b", 7)
    assert index["shard"].tolist() == [0] * 5 + [1] * 7
    assert index["row"].tolist() == [*range(5), *range(7)]
    assert index["caption"].tolist() == [f"a {i}" for i in index["source_id"]]
    assert (index["licence"] == "CC0").all() and "component" not in index
    assert len(artifacts.read_table(files["rejected"])) == 0
    assert artifacts.read_provenance(files["index"])["licence"] == ["CC0"]


def test_the_split_does_not_depend_on_the_shards(tmp_path):
    labels = np.arange(40) % 3
    whole = indexed(tmp_path / "w", [shard(tmp_path / "w", 0, ids("a", 40), labels)])
    cut = [(0, 13), (13, 13), (13, 40)]
    parts = [
        shard(tmp_path / "p", i, ids("a", 40)[first:end], labels[first:end])
        for i, (first, end) in enumerate(cut)
    ]
    found = artifacts.read_table(indexed(tmp_path / "p", parts)["index"])
    wanted = artifacts.read_table(whole["index"])
    for name in ("sample_id", "source_id", "split", "label"):
        assert found[name].tolist() == wanted[name].tolist()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_shard_that_keeps_nothing_has_no_say_in_the_columns(place, tmp_path):
    parts = [shard(tmp_path, 3, ids("a", 5), "cat"), shard(tmp_path, 4, ids("b", 7), "dog")]
    parts.insert(place, shard(tmp_path, 5, [], np.zeros(0, np.int64)))
    index = artifacts.read_table(indexed(tmp_path, parts)["index"])
    assert index["label"].tolist() == ["cat"] * 5 + ["dog"] * 7
    assert index["shard"].tolist() == [int(place <= 0)] * 5 + [1 + int(place <= 1)] * 7


def test_an_id_of_an_earlier_shard_is_rejected(tmp_path):
    parts = [
        shard(tmp_path, 0, ids("a", 6), 0, [("x", "truncated")]),
        shard(tmp_path, 1, ["b0", "a3", "b1"], 1, component=5),
    ]
    parts[0] = shard(tmp_path, 0, ids("a", 6), 0, [("x", "truncated")], component=4)
    files = indexed(tmp_path, parts)
    index, rejected = artifacts.read_table(files["index"]), artifacts.read_table(files["rejected"])
    assert index["source_id"].tolist() == [*ids("a", 6), "b0", "b1"]
    assert index["row"].tolist() == [0, 1, 2, 3, 4, 5, 0, 2]
    assert index["component"].tolist() == [4] * 6 + [5] * 2
    assert rejected.to_dict("list") == {
        "source_id": ["x", "a3"],
        "reason": ["truncated", "duplicate id"],
        "shard": [0, 1],
    }


def test_rows_after_a_rejected_one_are_their_own(tmp_path):
    parts = [
        shard(tmp_path, 0, ["a0", "a1", "a0", "a2"], [0, 0, 0, 1]),
        shard(tmp_path, 1, ["b0", "a1", "b1"], [1, 0, 1]),
        shard(tmp_path, 2, ["c0", "b1", "c1", "c0"], [2, 2, 2, 2]),
    ]
    files = indexed(tmp_path, parts, max_rejected_fraction=0.5)
    index, rejected = artifacts.read_table(files["index"]), artifacts.read_table(files["rejected"])
    columns = index[["source_id", "label", "shard", "row"]].to_numpy().tolist()
    assert columns == [
        ["a0", 0, 0, 0],
        ["a1", 0, 0, 1],
        ["a2", 1, 0, 3],
        ["b0", 1, 1, 0],
        ["b1", 1, 1, 2],
        ["c0", 2, 2, 0],
        ["c1", 2, 2, 2],
    ]
    assert index["sample_id"].tolist() == list(range(7))
    again = rejected[["source_id", "shard"]].to_numpy().tolist()
    assert again == [["a0", 0], ["a1", 1], ["b1", 2], ["c0", 2]]


def test_too_many_rejects_stop_the_run(tmp_path):
    lost = [("x", "truncated"), ("y", "animated")]
    parts = [shard(tmp_path, 0, ids("a", 8), 0, lost)]
    indexed(tmp_path, parts)  # 2 of 10 are allowed
    with refused(r"data.max_rejected_fraction: .* 0.19 .* 2 of 10 \(1 truncated, 1 animated\)"):
        indexed(tmp_path, parts, max_rejected_fraction=0.19)
    with refused("got 0 of 0"):
        indexed(tmp_path, [shard(tmp_path, 1, [], 0)])


def test_labels_of_all_shards_are_of_one_kind(tmp_path):
    numbers = [shard(tmp_path, 0, [], 0), shard(tmp_path, 1, ids("a", 3), 4)]
    texts = [shard(tmp_path, 2, ids("b", 3), "oak"), shard(tmp_path, 3, ids("c", 3), "4")]
    for parts in (numbers, texts, [numbers[0], *texts]):
        indexed(tmp_path, parts)
    with refused(
        r"data.source: wanted labels that are all whole numbers or all text, got 4 \(of a0, shard "
        r"1\) and 'oak' \(of b0, shard 2\); name another label"
    ):
        indexed(tmp_path, numbers + texts)


def test_repeated_ids():
    found = duplicated_ids(pd.Series(["a", "b", "a", "", "b", "a", "é"]))
    assert found.tolist() == [False, False, True, False, True, True, False]


@pytest.mark.parametrize("labels", [np.arange(100) % 7, np.array(list("abcd") * 25)], ids=str)
def test_every_label_gives_its_share(labels):
    split = split_by_label(labels, 0.2, 7)
    for label in np.unique(labels):
        mine = split[labels == label]
        assert (mine == "heldout").sum() == np.floor(0.2 * len(mine) + 0.5)
    other = split_by_label(labels, 0.2, 8)
    assert (split == split_by_label(labels, 0.2, 7)).all() and (split != other).any()


def test_the_split_is_drawn_label_by_label():
    """As it is defined: a permutation of each label's rows, one generator for all."""
    from routing.workflow import seeds

    labels = np.random.default_rng(3).integers(5, size=60)
    expected, rng = np.full(60, "train", object), seeds.stream(7, "split")
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        expected[rows[: int(np.floor(0.3 * len(rows) + 0.5))]] = "heldout"
    assert (split_by_label(labels, 0.3, 7) == expected).all()


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_both_splits_have_images(share):
    with refused("data.heldout_fraction: wanted a fraction that leaves images in both"):
        split_by_label(np.arange(10), share, 0)
