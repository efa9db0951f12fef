"""The data stage: every image of a shard is a row or a reject, and what is stored is the image."""

import hashlib
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import image_sources
import numpy as np
import pandas as pd
import pytest
from encoded_images import bomb, encoded, mean_of_boxes, noise, oriented, smooth
from places import SHARED
from sklearn.datasets import load_digits
from stages import content, refused, run

from routing.data.decoding import REASONS, ImageRule, decode
from routing.data.sources import SOURCES, Digits, Item, MixtureSource, base
from routing.stages import data
from routing.workflow import artifacts

WORLD = {
    "name": "mixture",
    "weights": [1.0, 2.0, 3.0, 4.0],
    "means": [[-3.0, 2.0], [2.5, 2.5], [-2.0, -2.5], [3.0, -1.5]],
    "stds": [0.5, 0.7, 0.6, 0.8],
    "num_points": 2000,
}
READY = {
    "digits": Digits(),
    "mixture": MixtureSource((0.3, 0.7), ((0.0, 1.0), (2.0, 3.0)), (1.0, 0.5), 100),
}
OPENMIX = SHARED / "data" / "openmix_64.parquet"
IMAGE = {"size": 4, "filter": "area", "min_side": 8, "max_pixels": 10_000}


def spec(source, shard=0, num_shards=1, image=None, seed=1):
    return {
        "seed": seed,
        "source": {"name": source} if isinstance(source, str) else source,
        "image": image,
        "shard": shard,
        "num_shards": num_shards,
    }


def shards(folder, num_shards, **options):
    """(samples, rows, rejected) of every shard."""
    found = []
    for shard in range(num_shards):
        place = folder / f"{shard}-{num_shards}"
        files = run("data", place, spec(shard=shard, num_shards=num_shards, **options))
        samples = artifacts.read_arrays(files["samples"])["samples"]
        found.append((samples, *(artifacts.read_table(files[n]) for n in ("rows", "rejected"))))
    return found


# Samples that are ready.


def test_every_ready_source_is_asked():
    assert READY.keys() == {name for name, kind in SOURCES.items() if hasattr(kind, "load")}


@pytest.mark.parametrize("source", READY.values(), ids=READY.keys())
def test_a_source_says_all_about_every_sample(source):
    found, again = source.load(3), source.load(3)
    num = len(found.stored)
    assert len(found.labels) == len(found.captions) == len(found.source_ids) == num
    assert len(set(found.source_ids)) == num
    assert np.array_equal(found.stored, again.stored) and found.licence
    assert np.isfinite(found.stored).all() and found.labels.dtype == np.int64


def test_digits_are_stored_as_they_are(tmp_path):
    files = run("data", tmp_path, spec("digits"))
    truth, rows = load_digits(), artifacts.read_table(files["rows"])
    stored = artifacts.read_arrays(files["samples"])["samples"]
    assert stored.shape == (1797, 1, 8, 8) and stored.dtype == np.uint8
    assert np.array_equal(stored[:, 0], truth.images)
    assert stored.min() == 0 and stored.max() == 16
    assert np.array_equal(rows["label"], truth.target)
    assert np.array_equal(rows["row"], np.arange(1797))
    assert rows["caption"][11] == "a handwritten digit 1" and rows["source_id"][11] == "digits/11"
    assert list(rows) == ["source_id", "label", "caption", "licence", "row"]
    rejected = artifacts.read_table(files["rejected"])
    assert list(rejected) == ["source_id", "reason"] and not len(rejected)
    for path in files.values():
        note = artifacts.read_provenance(path)
        assert note["licence"] == rows["licence"].unique().tolist()
        assert note["visibility"] == "public"
    note = artifacts.read_provenance(files["samples"])
    assert note["levels"] == 16 and note["world"] is None


@pytest.mark.parametrize("source", ["digits", WORLD], ids=["digits", "mixture"])
def test_shards_of_ready_samples_are_the_whole_in_parts(source, tmp_path):
    ((whole, rows, _),) = shards(tmp_path, 1, source=source)
    parts = shards(tmp_path, 3, source=source)
    assert np.array_equal(np.concatenate([samples for samples, _, _ in parts]), whole)
    again = pd.concat([part for _, part, _ in parts], ignore_index=True)
    assert again.drop(columns="row").equals(rows.drop(columns="row"))
    assert all(np.array_equal(part["row"], np.arange(len(part))) for _, part, _ in parts)


def test_a_shard_of_ready_samples_may_be_empty(tmp_path):
    files = run("data", tmp_path, spec("digits", shard=0, num_shards=2000))
    rows = artifacts.read_table(files["rows"])
    assert [str(t) for t in rows.dtypes] == ["str", "int64", "str", "str", "int64"]
    assert artifacts.read_arrays(files["samples"])["samples"].shape == (0, 1, 8, 8)


def test_the_same_seed_gives_the_same_files(tmp_path):
    files = [run("data", tmp_path / str(i), spec(WORLD, seed=s)) for i, s in enumerate((1, 1, 2))]
    first, again, other = (content(f["samples"]) for f in files)
    assert first == again != other


@pytest.mark.parametrize(
    ("weights", "num", "counts"),
    [
        ((1.0, 2.0, 3.0, 4.0), 4000, [400, 800, 1200, 1600]),
        ((0.1, 0.2, 0.3, 0.4), 4000, [400, 800, 1200, 1600]),
        ((1.0, 1.0, 1.0), 11, [4, 4, 3]),  # of equal remainders the first wins
        ((0.5, 0.26, 0.24), 10, [5, 3, 2]),
    ],
)
def test_mixture_counts_are_exact(weights, num, counts):
    means, stds = tuple((float(c), 0.0) for c in range(len(weights))), (1.0,) * len(weights)
    found = MixtureSource(weights, means, stds, num).load(0)
    assert np.bincount(found.labels).tolist() == counts and len(found.stored) == num


def test_mixture_points_have_the_moments_of_their_components(tmp_path):
    files = run("data", tmp_path, spec(WORLD))
    points = artifacts.read_arrays(files["samples"])["samples"]
    labels = artifacts.read_table(files["rows"])["label"].to_numpy()
    for c, (mean, std) in enumerate(zip(WORLD["means"], WORLD["stds"], strict=True)):
        mine = points[labels == c].astype(np.float64)
        error = 4 * std / np.sqrt(len(mine))
        assert np.abs(mine.mean(0) - mean).max() < error
        assert np.abs(mine.std(0) - std).max() < error
    note = artifacts.read_provenance(files["samples"])
    assert note["levels"] is None and note["world"] == WORLD and points.dtype == np.float32
    assert not np.array_equal(points, MixtureSource(**_tuples(WORLD)).load(2).stored)


def test_components_may_share_labels(tmp_path):
    source = WORLD | {"labels": [7, 3, 7, 5], "num_points": 100}
    rows = artifacts.read_table(run("data", tmp_path, spec(source))["rows"])
    assert np.bincount(rows["component"]).tolist() == [10, 20, 30, 40]
    assert np.array_equal(rows["label"], np.array([7, 3, 7, 5])[rows["component"]])
    assert rows["caption"][0] == "label 7" and rows["label"].dtype == np.int64
    plain = artifacts.read_table(run("data", tmp_path / "p", spec(WORLD))["rows"])
    assert np.array_equal(plain["component"], plain["label"])


def test_a_mixture_of_odd_parts_is_refused():
    means = ((0.0, 0.0), (1.0, 1.0))
    with refused("mixture: wanted as many weights as means and stds, got 1, 2 and 2"):
        MixtureSource((1.0,), means, (1.0, 1.0))
    for weights, stds in (((1.0, 0.0), (1.0, 1.0)), ((1.0, 1.0), (1.0, -1.0))):
        with refused("mixture: wanted weights and stds > 0, got"):
            MixtureSource(weights, means, stds)
    with refused("mixture: wanted weights and stds > 0"):
        MixtureSource((), (), ())
    with refused("mixture: wanted as many labels as weights, got 1 and 2"):
        MixtureSource((1.0, 1.0), means, (1.0, 1.0), labels=(0,))


def _tuples(world):
    options = {k: tuple(v) for k, v in world.items() if k in ("weights", "stds")}
    means = tuple(tuple(m) for m in world["means"])
    return options | {"means": means, "num_points": world["num_points"]}


# Encoded images.


def folder_of(path, files):
    for name, content_ in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content_)
    return {"name": "image_folder", "path": str(path), "licence_text": "CC0"}


@pytest.mark.parametrize("threads", ["1", "3"])
def test_images_are_stored_in_their_order(threads, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    monkeypatch.setattr(data, "BLOCK_SIZE", 5)
    path = str(image_sources.parquet(tmp_path / "in"))
    names = {"label": "label_name", "caption": "text", "source_id": "key", "licence": "rights"}
    source = {"name": "parquet", "path": path, **names}
    files = run("data", tmp_path, spec(source, image=IMAGE))
    stored, rows = (
        artifacts.map_arrays(files["samples"])["samples"],
        artifacts.read_table(files["rows"]),
    )
    wanted = [decode(image, ImageRule(**IMAGE)) for image in image_sources.images()]
    assert stored.dtype == np.uint8 and np.array_equal(stored, np.stack(wanted))
    found = image_sources.columns()
    for column, own in (("label", "label_name"), ("caption", "text"), ("source_id", "key")):
        assert rows[column].tolist() == found[own]
    assert rows["licence"].tolist() == found["rights"]
    assert rows["row"].tolist() == list(range(image_sources.NUM))
    digest = hashlib.sha256()
    for image in image_sources.images():
        digest.update(len(image).to_bytes(8, "little") + image)
    origin = {"path": path, "images": image_sources.NUM, "sha256": digest.hexdigest()}
    for path in files.values():
        note = artifacts.read_provenance(path)
        assert note["licence"] == ["CC0", "MIT"] and note["visibility"] == "public"
        assert note["origin"] == origin
    note = artifacts.read_provenance(files["samples"])
    assert note["levels"] == 255 and note["world"] is None and note["rule"] == "center_area_4"


@pytest.mark.parametrize("num_shards", [2, 7, 30])
def test_shards_of_images_are_the_whole_in_parts(num_shards, tmp_path):
    source = {
        "name": "parquet",
        "path": str(image_sources.parquet(tmp_path / "in")),
        "label": "label",
    }
    source["licence_text"] = "MIT"
    ((whole, rows, _),) = shards(tmp_path, 1, source=source, image=IMAGE)
    parts = shards(tmp_path, num_shards, source=source, image=IMAGE)
    assert np.array_equal(np.concatenate([samples for samples, _, _ in parts]), whole)
    again = pd.concat([part for _, part, _ in parts], ignore_index=True)
    assert again.drop(columns="row").equals(rows.drop(columns="row"))
    assert (
        again["label"].dtype == np.int64 and again["caption"].tolist() == [""] * image_sources.NUM
    )


def test_odd_images_are_handled_or_listed(tmp_path):
    picture = smooth(24, 36)
    cut = encoded(noise(64, 64), "JPEG")
    good = {
        "a/grey.png": encoded(picture[..., 0]),
        "a/turned.jpg": oriented(picture, 6, "JPEG", quality=98, subsampling=0),
        "b/alpha.png": encoded(noise(8, 8, 4)),
        "b/name of png.jpg": encoded(noise(9, 9)),
    }
    bad = {
        "a/cut.jpg": (cut[: len(cut) // 2], "truncated or corrupt"),
        "a/empty.png": (b"", "empty file"),
        "a/pixel.png": (encoded(noise(1, 1)), "smaller than min_side"),
        "b/bomb.png": (bomb(60_000, 60_000), "more than max_pixels"),
        "b/large.png": (encoded(noise(101, 100)), "more than max_pixels"),
        "b/text.jpg": (b"not a picture at all", "not an image"),
        "c/moves.gif": (
            encoded(
                noise(8, 8), "GIF", save_all=True, append_images=[_image(noise(8, 8, seed=1))]
            ),
            "animated or of several pages",
        ),
    }
    source = folder_of(tmp_path / "in", good | {name: file for name, (file, _) in bad.items()})
    ((samples, rows, rejected),) = shards(tmp_path, 1, source=source, image=IMAGE)
    assert rows["source_id"].tolist() == sorted(good)
    assert rows["label"].tolist() == ["a", "a", "b", "b"]
    reasons = dict(zip(rejected["source_id"], rejected["reason"], strict=True))
    assert reasons == {name: reason for name, (_, reason) in bad.items()}
    assert set(reasons.values()) <= {*REASONS, *base.PROBLEMS, data.DUPLICATE}
    turned = np.rot90(picture, -1)[6:30].transpose(2, 0, 1)
    wanted = mean_of_boxes(turned.transpose(1, 2, 0), 4).transpose(2, 0, 1)
    assert np.abs(samples[1] - wanted).max() < 3


def _image(array):
    from PIL import Image

    return Image.fromarray(array)


def test_later_ids_are_duplicates(tmp_path):
    keys = [f"id-{i}" for i in range(image_sources.NUM)]
    keys[5], keys[9], keys[20] = keys[4], keys[4], keys[7]
    images = image_sources.images()
    images[7] = b"broken"
    path = image_sources.parquet(tmp_path / "in", key=keys, image=images)
    source = {"name": "parquet", "path": str(path), "source_id": "key", "licence_text": "MIT"}
    ((samples, rows, rejected),) = shards(tmp_path, 1, source=source, image=IMAGE)
    wanted = [i for i in range(image_sources.NUM) if i not in (5, 7, 9, 20)]
    assert rows["source_id"].tolist() == [keys[i] for i in wanted]
    rule = ImageRule(**IMAGE)
    assert np.array_equal(samples, [decode(images[i], rule) for i in wanted])
    found = sorted(zip(rejected["source_id"], rejected["reason"], strict=True))
    again = [("id-4", "duplicate id")] * 2 + [("id-7", "duplicate id"), ("id-7", "not an image")]
    assert found == again


def test_a_shard_may_be_empty(tmp_path):
    source = folder_of(tmp_path / "in", {"a.png": b"", "b.png": b"text"})
    for num_shards, counts in ((1, [2]), (3, [0, 1, 1])):
        found = shards(tmp_path, num_shards, source=source, image=IMAGE)
        assert [len(rejected) for _, _, rejected in found] == counts
        for samples, rows, rejected in found:
            assert samples.shape == (0, 3, 4, 4) and samples.dtype == np.uint8 and not len(rows)
            assert list(rows) == ["source_id", "label", "caption", "licence", "row"]
            assert [str(t) for t in rows.dtypes] == ["str", "int64", "str", "str", "int64"]
            assert [str(t) for t in rejected.dtypes] == ["str", "str"]


def test_a_whole_number_of_blocks_has_no_empty_one(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "BLOCK_SIZE", image_sources.NUM)
    sizes = []
    keep = data.ShardRecords._keep
    monkeypatch.setattr(
        data.ShardRecords, "_keep", lambda s, i: (sizes.append(len(i)), keep(s, i))
    )
    path = str(image_sources.parquet(tmp_path / "in"))
    shards(
        tmp_path, 1, source={"name": "parquet", "path": path, "licence_text": "MIT"}, image=IMAGE
    )
    assert sizes == [image_sources.NUM]


def test_large_images_are_written_in_smaller_blocks():
    items = [(Item(str(i), b""), np.zeros((3, 2048, 2048), np.uint8)) for i in range(7)]
    sizes = [len(block) for block in data.ShardRecords("x").blocks(items, 2048)]
    assert sizes == [5, 2] and 5 * 3 * 2048**2 <= data.BLOCK_BYTES


def test_a_shard_of_openmix(tmp_path):
    if not OPENMIX.is_file():
        pytest.skip("the images of openmix are not here")
    names = {"label": "label_name", "caption": "caption", "source_id": "source_id"}
    source = {"name": "parquet", "path": str(OPENMIX), "licence": "license", **names}
    image = {"size": 64, "filter": "lanczos"}
    files = run("data", tmp_path, spec(source, image=image, shard=40, num_shards=100))
    rows, stored = (
        artifacts.read_table(files["rows"]),
        artifacts.map_arrays(files["samples"])["samples"],
    )
    assert len(rows) == len(stored) == 27_611 * 41 // 100 - 27_611 * 40 // 100
    assert not len(artifacts.read_table(files["rejected"]))
    assert stored.std() > 20 and rows["caption"].str.len().min() > 0 and rows["licence"].all()
    assert rows["source_id"].is_unique


def test_labels_are_of_one_kind(tmp_path):
    image = encoded(noise(8, 8))
    members = [("a.png", image), ("a.cls", b"3"), ("b.png", image), ("b.cls", b"oak")]
    path = str(image_sources.tar(tmp_path / "x.tar", members))
    source = {"name": "webdataset", "path": path, "label": "cls", "licence_text": "MIT"}
    with refused("data.source: wanted labels that are all whole numbers or all text, got 3 and"):
        run("data", tmp_path / "out", spec(source, image=IMAGE))
    assert not list((tmp_path / "out").glob("*"))  # nothing half done, no temporary file


@pytest.mark.parametrize("sign", [1, -1])
def test_labels_are_numbers_of_64_bits(sign, tmp_path):
    edge = 2**63 - 1 if sign == 1 else -(2**63)
    for label in (edge, edge + sign):
        members = [("a.png", encoded(noise(8, 8))), ("a.json", f'{{"l": {label}}}'.encode())]
        path = str(image_sources.tar(tmp_path / "x.tar", members))
        source = {"name": "webdataset", "path": path, "label": "json.l", "licence_text": "MIT"}
        if label == edge:
            ((_, rows, _),) = shards(tmp_path, 1, source=source, image=IMAGE)
            assert rows["label"].tolist() == [edge]
            continue
        with refused(
            rf"data.source: wanted labels from -2\^63 to 2\^63 - 1, or text, got {label} \(of "
            r"x.tar/a\); store it as text"
        ):
            run("data", tmp_path / "out", spec(source, image=IMAGE))


def test_names_that_are_no_text_are_written_out(tmp_path):
    path = image_sources.tar(tmp_path / "x.tar", [("caf\udce9.png", encoded(noise(8, 8)))])
    source = {"name": "webdataset", "path": str(path), "licence_text": "MIT"}
    ((_, rows, _),) = shards(tmp_path, 1, source=source, image=IMAGE)
    assert rows["source_id"].tolist() == ["x.tar/caf\\udce9"]


def test_folders_whose_names_are_no_text_are_labels(tmp_path):
    inside = os.fsencode(tmp_path / "in") + b"/caf\xe9"
    os.makedirs(inside)
    with open(inside + b"/a.png", "wb") as file:
        file.write(encoded(noise(8, 8)))
    source = folder_of(tmp_path / "in", {}) | {"captions": "label"}
    ((_, rows, _),) = shards(tmp_path, 1, source=source, image=IMAGE)
    assert rows[["label", "caption"]].to_numpy().tolist() == [["caf\\udce9"] * 2]


def test_private_images_stay_private(tmp_path):
    source = folder_of(tmp_path / "in", {"a.png": encoded(noise(8, 8))})
    files = run("data", tmp_path, spec(source | {"visibility": "private"}, image=IMAGE))
    for path in files.values():
        assert artifacts.read_provenance(path)["visibility"] == "private"


def test_what_a_job_may_be_asked(tmp_path):
    folder = folder_of(tmp_path / "in", {"a.png": encoded(noise(8, 8))})
    with refused("data.image: wanted an image rule .* 'image_folder', got None; change it"):
        run("data", tmp_path, spec(folder))
    with refused("data.image: wanted no image rule, for the source 'digits', got {'size': 4"):
        run("data", tmp_path, spec("digits", image=IMAGE))
    for shard in (-1, 3):
        with refused(f"shard: wanted 0 to 2, got {shard}; correct --spec"):
            run("data", tmp_path, spec("digits", shard=shard, num_shards=3))
    with refused("data.source: unknown name 'parket'; did you mean 'parquet'"):
        run("data", tmp_path, spec("parket", image=IMAGE))


# Threads.


def test_work_is_in_order_and_bounded():
    drawn, done, gate = [], [], threading.Event()

    def numbers():
        for i in range(40):
            drawn.append(i)
            yield i

    def slow_first(i):
        if i == 0:
            gate.wait(10)
        done.append(i)
        return -i

    with ThreadPoolExecutor(3) as pool:
        found = data.map_in_order(pool, slow_first, numbers(), 6)
        threading.Timer(0.05, gate.set).start()
        assert next(found) == (0, 0)
        assert drawn == list(range(6)) and set(done) <= set(drawn)
        assert [next(found) for _ in range(10)] == [(i, -i) for i in range(1, 11)]
        assert drawn == list(range(16))  # no more than six ahead
        assert list(found) == [(i, -i) for i in range(11, 40)]
        assert list(data.map_in_order(pool, slow_first, [], 6)) == []


@pytest.mark.parametrize(("given", "num"), [("3", 3), ("1", 1), ("", None), ("0", None)])
def test_threads_are_those_of_the_rule(given, num, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(data.os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert data._num_threads() == (2 if num is None else num)


def test_an_error_in_a_thread_is_an_error(tmp_path, monkeypatch):
    def fails(image, rule):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(data, "decode", fails)
    source = folder_of(tmp_path / "in", {"a.png": encoded(noise(8, 8))})
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run("data", tmp_path / "out", spec(source, image=IMAGE))


def test_a_problem_of_the_source_is_the_reason():
    records = data.ShardRecords("x")
    items = [
        Item("a", b"1", problem=base.NO_LABEL),
        Item("b", b"2"),
        Item("b", None, problem=base.NO_IMAGE),
        Item("c", None, problem=base.NO_IMAGE),
        Item("a", b"3"),  # an id counts from its first, good or not
    ]
    assert [item.source_id for item in records.valid_items(items)] == ["b"]
    again = ("a", "duplicate id")
    assert records.rejected == [
        *(("a", "no label"), ("b", "duplicate id"), ("c", "no image"), again),
    ]
    assert json.dumps(records.origin()) and records.origin()["images"] == 3
