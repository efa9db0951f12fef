"""The stage lpips: distances to the baseline and sums over pairs, by groups and blocks."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from pretrained import autoencoder
from stages import ROOT, make, refused, run

from routing.data import heldout_arm, pixel_values
from routing.metrics.formulas.lpips_distance import diversity
from routing.pretrained import autoencoders
from routing.stages import lpips as stage
from routing.statistics.jackknife import jackknife_interval, jackknife_weights
from routing.workflow import artifacts, seeds

NUM = 12
REQUESTED = np.array([2, 0, 1, 0, 0, 2, 1, 0, 2, 0, 5, 0])  # 5 alone


class Pixels:
    """phi is the pixels; the sizes of the batches that it was asked for."""

    device, note = torch.device("cpu"), {"net": "alex", "sha256": "abc", "heads_sha256": "def"}
    sizes = []

    def __call__(self, x):
        Pixels.sizes.append(len(x))
        return x.flatten(1)


@pytest.fixture(autouse=True)
def pixels(monkeypatch):
    Pixels.sizes = []
    monkeypatch.setattr(stage.LPIPSNetwork, "load", lambda *options: Pixels())


def drawn(seed=0, num=NUM):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.2, 1.2, size=(num, 1, 2, 2)).astype(np.float32)


def seen(values):
    """As a reader of the stored image sees them."""
    return (np.rint((np.clip(values, -1, 1) + 1) * 8) / 8 - 1).astype(np.float32)


def shard(path, values, first=0, levels=16, autoencoder=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = np.arange(first, first + len(values))
    arrays = {"samples": values, "seeds": numbers} | more
    return make("samples", path, arrays, levels=levels, autoencoder=autoencoder)


def shards(folder, values, cuts=(0, NUM), **more):
    """Files of the rows between `cuts`."""
    return [
        shard(folder / f"{a}.safetensors", values[a:b], a, **{n: v[a:b] for n, v in more.items()})
        for a, b in zip(cuts[:-1], cuts[1:], strict=True)
    ]


def run_lpips(folder, samples, **options):
    lpips = {"net": "alex", "weights": None, "sha256": None}
    inputs = {n: options.pop(n) for n in ("baseline", "index") if n in options}
    spec = {"seed": ROOT, "arm": "top1", "lpips": lpips, "num_blocks": 4, "num_training_seeds": 1}
    spec |= {"num_samples": NUM, "within": "all"} | options
    files = run("lpips", folder, spec, samples=samples, **inputs)
    return tuple(artifacts.read_table(files[name]) for name in ("scores", "pairs"))


def loop(x, groups, num_blocks):
    """The table of pairs of one training, one pair after the other."""
    blocks = np.arange(len(x)) // (len(x) // num_blocks)
    found = {(a, b): [0.0, 0] for a in range(num_blocks) for b in range(a, num_blocks)}
    for i, j in combinations(range(len(x)), 2):
        if groups[i] == groups[j]:
            cell = found[tuple(sorted((blocks[i], blocks[j])))]
            cell[0] += np.square(x[i].astype(float) - x[j]).sum()
            cell[1] += 1
    return [(a, b, *cell) for (a, b), cell in found.items()]


@pytest.mark.parametrize("within", ["all", "label"])
def test_tables_are_those_of_the_loop(within, tmp_path):
    values, base = drawn(0), drawn(1)
    scores, pairs = run_lpips(
        tmp_path / "o",
        shards(tmp_path / "a", values, (0, 6, 12), requested=REQUESTED),
        baseline=shards(tmp_path / "b", base, (0, 6, 12)),
        within=within,
    )
    groups = REQUESTED if within == "label" else np.zeros(NUM, int)
    x, y = seen(values), seen(base)
    assert scores.columns.tolist() == ["training_seed", "seed", "group", "to_baseline"]
    assert scores["seed"].tolist() == list(range(NUM)) and scores["group"].tolist() == list(groups)
    truth = np.square(x.astype(float) - y).sum((1, 2, 3))
    np.testing.assert_allclose(scores["to_baseline"], truth, rtol=1e-12)
    assert pairs.columns.tolist() == ["training_seed", "block_a", "block_b", "total", "num_pairs"]
    table = pairs.drop(columns="training_seed").to_numpy()
    np.testing.assert_allclose(table, loop(x, groups, 4), rtol=1e-11, atol=1e-12)
    assert pairs["num_pairs"].dtype == np.int64 and pairs["num_pairs"].sum() > 18


def test_the_tables_give_the_diversity_with_its_interval(tmp_path):
    values = drawn()
    _, pairs = run_lpips(tmp_path / "o", shards(tmp_path, values))
    total, num = torch.zeros(2, 4, 4, dtype=torch.float64)
    a, b = (pairs[n].to_numpy(copy=True) for n in ("block_a", "block_b"))
    total[a, b] = torch.from_numpy(pairs["total"].to_numpy(copy=True))
    num[a, b] = torch.from_numpy(pairs["num_pairs"].to_numpy(copy=True)).double()
    found = diversity(total, num, jackknife_weights(torch.arange(4)))
    x = seen(values).reshape(NUM, 4).astype(float)
    for b in (-1, 2):
        kept = x[np.arange(NUM) // 3 != b]
        each = [np.square(p - q).sum() for p, q in combinations(kept, 2)]
        assert found[b + 1].item() == pytest.approx(np.mean(each), rel=1e-12)
    interval = jackknife_interval(found[None])
    assert interval.lo < interval.value < interval.hi


@pytest.mark.parametrize("room", [1, 4, 12, 20, 1 << 20])
@pytest.mark.parametrize("within", ["all", "label"])
def test_batches_and_shards_change_nothing(within, room, tmp_path, monkeypatch):
    values, base = drawn(0), drawn(1)
    whole = run_lpips(
        tmp_path / "a",
        shards(tmp_path / "a", values, requested=REQUESTED),
        baseline=shards(tmp_path / "b", base),
        within=within,
    )
    assert Pixels.sizes == [1, 1, 11, 11]
    monkeypatch.setattr(stage, "MAX_BATCH_FLOATS", room)
    parts = run_lpips(
        tmp_path / "c",
        shards(tmp_path / "c", values, (0, 1, 5, 12), requested=REQUESTED),
        baseline=shards(tmp_path / "d", base, (0, 1, 5, 12)),
        within=within,
    )
    assert max(Pixels.sizes[4:]) == min(11, max(1, room // 4))
    for a, b in zip(whole, parts, strict=True):
        assert a.equals(b)


def test_the_baseline_is_seen_as_it_was_stored_and_cut(tmp_path):
    values, base = drawn(0), drawn(1)
    fine = [shard(tmp_path / f"{a}.safetensors", base[a:b], a, 255) for a, b in ((0, 3), (3, 12))]
    scores, _ = run_lpips(tmp_path, shards(tmp_path / "a", values, (0, 6, 12)), baseline=fine)
    truth = np.square(seen(values).astype(float) - pixel_values.quantised(base, 255)).sum(
        (1, 2, 3)
    )
    np.testing.assert_allclose(scores["to_baseline"], truth, rtol=1e-6)


def test_trainings_stand_one_after_the_other(tmp_path):
    values, base = [drawn(0), drawn(1)], [drawn(2), drawn(3)]
    files, of_base = (
        [p for i, v in enumerate(sets) for p in shards(tmp_path / f"{n}{i}", v, (0, 6, 12))]
        for n, sets in (("a", values), ("b", base))
    )
    scores, pairs = run_lpips(tmp_path / "o", files, baseline=of_base, num_training_seeds=2)
    assert scores["training_seed"].tolist() == [0] * NUM + [1] * NUM
    assert scores["seed"].tolist() == [*range(NUM)] * 2
    for i in range(2):
        alone = run_lpips(
            tmp_path / f"{i}", files[2 * i : 2 * i + 2], baseline=of_base[2 * i : 2 * i + 2]
        )
        for whole, own in zip((scores, pairs), alone, strict=True):
            mine = whole[whole["training_seed"] == i].reset_index(drop=True)
            assert mine.drop(columns="training_seed").equals(own.drop(columns="training_seed"))


def test_an_arm_is_at_no_distance_from_itself_and_without_baseline_at_none(tmp_path):
    files = shards(tmp_path, drawn())
    scores, pairs = run_lpips(tmp_path / "a", files, baseline=files)
    assert (scores["to_baseline"] == 0).all()
    scores, without = run_lpips(tmp_path / "b", files, baseline=[], index=[])
    assert scores["to_baseline"].isna().all() and without.equals(pairs)


CAPTIONS = ["a fox", "the sea", "", "the sea", "a fox", "a hill", ""]
FIRST = np.array([0, 1, 2, 1, 0, 3, 2])  # their numbers, in the order of the index
PROMPTS = np.array([4, 1, 6, 0, 3, 2, 5, 1, 0, 2, 4, 3])  # images of the index


def test_every_way_to_group_is_asked():
    assert list(stage.WITHIN) == ["all", "label", "text"]


@pytest.mark.parametrize("within", stage.WITHIN)
def test_labels_group_by_class_and_texts_by_caption(within, tmp_path):
    """Samples always say both; images with one caption are one prompt."""
    values = drawn()
    files = shards(tmp_path / "a", values, (0, 6, 12), requested=REQUESTED, prompts=PROMPTS)
    index = pd.DataFrame({"caption": np.array(CAPTIONS, object), "label": 0})
    path = make("index", tmp_path / "index.parquet", index)
    scores, pairs = run_lpips(tmp_path / "o", files, index=path, within=within)
    groups = {"all": np.zeros(NUM, int), "label": REQUESTED, "text": FIRST[PROMPTS]}[within]
    assert scores["group"].tolist() == groups.tolist()
    truth = loop(seen(values), groups, 4)
    np.testing.assert_allclose(pairs.drop(columns="training_seed").to_numpy(), truth, rtol=1e-11)


def test_who_is_asked_alone_has_no_pairs(tmp_path):
    files = shards(tmp_path, drawn(), requested=np.arange(NUM))
    _, pairs = run_lpips(tmp_path / "a", files, within="label")
    assert (pairs["num_pairs"] == 0).all() and (pairs["total"] == 0).all()


def real(folder, num=20, num_blocks=4, seed=0):
    """Stored images in two shards, and their index: a third for training."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    stored = rng.integers(17, size=(num, 1, 2, 2)).astype(np.uint8)
    index = pd.DataFrame({"sample_id": range(num)})
    index["split"] = np.where(np.arange(num) % 3 == 0, "train", "heldout").astype(object)
    index["label"] = np.array(["b", "a", "c"])[rng.integers(3, size=num)].astype(object)
    index["caption"] = np.array(CAPTIONS, object)[rng.integers(len(CAPTIONS), size=num)]
    index["shard"], index["row"] = np.arange(num) % 2, np.arange(num) // 2
    files = [
        make("data", folder / f"{i}.safetensors", {"samples": stored[i::2]}, levels=16)
        for i in (0, 1)
    ]
    return stored, index, files, make("index", folder / "index.parquet", index)


@pytest.mark.parametrize("within", stage.WITHIN)
def test_the_heldout_images_are_one_more_arm(within, tmp_path):
    stored, index, files, path = real(tmp_path)
    options = {"arm": "heldout", "index": path, "within": within}
    scores, pairs = run_lpips(tmp_path / "o", files, num_samples=11, **options)
    rows = heldout_arm.rows(index["split"].to_numpy(), ROOT, 4, 11)
    assert scores["seed"].tolist() == rows.tolist() and len(rows) == 8
    assert scores["to_baseline"].isna().all()
    groups = {
        "all": np.zeros(8, int),
        "label": np.unique(index["label"], return_inverse=True)[1][rows],
        "text": np.array(
            [index["caption"].drop_duplicates().tolist().index(c) for c in index["caption"][rows]]
        ),
    }[within]
    assert scores["group"].tolist() == groups.tolist()
    truth = loop(pixel_values.to_values(stored[rows], 16), groups, 4)
    np.testing.assert_allclose(pairs.drop(columns="training_seed").to_numpy(), truth, rtol=1e-11)


def test_few_heldout_images_are_blocks_of_one(tmp_path):
    stored, index, files, path = real(tmp_path, num=6)
    _, pairs = run_lpips(tmp_path / "o", files, arm="heldout", index=path, num_blocks=20)
    rows = heldout_arm.rows(index["split"].to_numpy(), ROOT, 20)
    truth = loop(pixel_values.to_values(stored[rows], 16), np.zeros(4), 4)
    mine = pairs[pairs["num_pairs"] > 0].drop(columns="training_seed").to_numpy()
    np.testing.assert_allclose(mine, [row for row in truth if row[3]], rtol=1e-11)


def test_heldout_rows_are_the_metrics_rows():
    """The rows that the stage reference_statistics takes."""
    split = np.where(np.arange(50) % 4 == 0, "train", "heldout").astype(object)
    rng = seeds.stream(ROOT, "evaluation", 1)
    truth = rng.permutation(np.flatnonzero(split != "train"))  # 37
    assert heldout_arm.rows(split, ROOT, 5).tolist() == truth[:35].tolist()
    assert heldout_arm.rows(split, ROOT, 5, 22).tolist() == truth[:20].tolist()
    assert heldout_arm.rows(split, ROOT, 100).tolist() == truth.tolist()
    assert heldout_arm.rows(split, ROOT, 100, 7).tolist() == truth[:7].tolist()
    assert heldout_arm.rows(split, ROOT, 5, 1000).tolist() == truth[:35].tolist()
    assert heldout_arm.rows(np.array(["train"] * 3), ROOT, 5).tolist() == []


def test_latents_are_decoded(tmp_path):
    net = autoencoder(tmp_path / "net")
    spec = {"name": "autoencoder_kl", "folder": str(tmp_path / "net")}
    coder = autoencoders.load(spec)
    z = np.random.default_rng(0).normal(size=(4, 2, 4, 4)).astype(np.float16)
    path = shard(tmp_path / "z.safetensors", z, levels=None, autoencoder=coder.note)
    scores, pairs = run_lpips(tmp_path / "o", [path], baseline=[path], num_blocks=2)
    x = pixel_values.quantised(coder.decode(torch.from_numpy(z)).numpy(), 255)
    np.testing.assert_allclose(
        pairs.drop(columns="training_seed").to_numpy(), loop(x, np.zeros(4), 2), rtol=1e-4
    )
    torch.nn.init.constant_(net.decoder.conv_out.bias, 0.5)
    net.save_pretrained(tmp_path / "net")  # other weights in the same folder
    with refused(f"autoencoder.folder: wanted weights with sha256 {coder.note['sha256']}, got"):
        run_lpips(tmp_path / "o", [path], num_blocks=2)


def test_bad_input_is_one_line(tmp_path):
    values = drawn()
    files = shards(tmp_path / "a", values)
    short = shards(tmp_path / "b", values[:8], (0, 8))
    with refused("wanted as many samples of the reference arm as of top1, got 8 and 12; draw"):
        run_lpips(tmp_path, files, baseline=short)
    other = [shard(tmp_path / "c.safetensors", values, first=1)]
    with refused("wanted the same seeds of the reference arm as of top1, got others; draw"):
        run_lpips(tmp_path, files, baseline=other)
    with refused("wanted samples of 2 training seeds, got 1 files; give"):
        run_lpips(tmp_path, files, num_training_seeds=2)
    with refused("wanted samples of 1 training seeds, got 0 files; give"):
        run_lpips(tmp_path, [])
    with refused("with a condition, got an arm without guidance; set within to 'all'"):
        run_lpips(tmp_path, files, within="label")
    with refused("wanted within all, label, text, got 'none'; take"):
        run_lpips(tmp_path, files, within="none")
    with refused("num_blocks: wanted a divisor of 12"):
        run_lpips(tmp_path, files, num_blocks=5)
    wide = [shard(tmp_path / "w.safetensors", np.zeros((NUM, 1, 2, 3), np.float32))]
    with refused("wanted two sets of one size"):
        run_lpips(tmp_path, files, baseline=wide)
    with refused("wanted images, got points of a closed form; leave lpips out"):
        run_lpips(tmp_path, [shard(tmp_path / "p.safetensors", values, levels=None)])
    broken = values.copy()
    broken[3, 0, 0, 0] = np.nan
    with refused("d.safetensors: wanted finite samples, got nan or inf in 1 of"):
        run_lpips(tmp_path, [shard(tmp_path / "d.safetensors", broken)])
    broken[3] = 0
    broken[9:11, 0, 0, 0] = np.inf
    with refused("/6.safetensors: wanted finite samples, got nan or inf in 2 of"):
        run_lpips(tmp_path, shards(tmp_path / "e", broken, (0, 6, 12)))
    _, index, stored, _ = real(tmp_path / "r", num=6)
    index["split"] = np.where(np.arange(6) == 2, "heldout", "train").astype(object)
    path = make("index", tmp_path / "one.parquet", index)
    scores, pairs = run_lpips(tmp_path, stored, arm="heldout", index=path)  # has no pairs
    assert scores["seed"].tolist() == [2] and not pairs[["total", "num_pairs"]].to_numpy().any()


@pytest.mark.parametrize("name", ["samples", "baseline"])
def test_samples_that_are_no_images_are_refused(name, tmp_path):
    bytes_ = (8 * drawn() + 10).astype(np.int16)
    for bad, word in ((bytes_, "got int16"), (100 + drawn(), r"wanted images in \[-1, 1\]")):
        values = {"samples": drawn(), "baseline": drawn(1)} | {name: bad}
        files = {n: shards(tmp_path / n, v, (0, 6, 12)) for n, v in values.items()}
        with refused(f"{name}/0.safetensors: .*{word}"):
            run_lpips(tmp_path / "o", files["samples"], baseline=files["baseline"])
