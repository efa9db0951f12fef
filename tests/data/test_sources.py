"""Every kind of source: shards are one fixed order cut in parts, and all is said of every item."""

import io
import json
import os
import tarfile

import image_sources
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from encoded_images import encoded, noise
from image_sources import NUM, numbers
from places import SHARED
from stages import refused

from routing.data.sources import SOURCES, InMemorySource, StreamedSource, base, shard_range
from routing.data.sources.base import list_files
from routing.data.sources.hf_disk import HfDisk
from routing.data.sources.image_folder import ImageFolder
from routing.data.sources.parquet import Parquet
from routing.data.sources.webdataset import WebDataset
from routing.workflow import choices

KINDS = {
    "parquet": lambda f: Parquet(
        str(image_sources.parquet(f)),
        label="label",
        caption="text",
        source_id="key",
        licence="rights",
    ),
    "image_folder": lambda f: ImageFolder(str(image_sources.image_folder(f)), "CC0", "sidecar"),
    "webdataset": lambda f: WebDataset(
        str(image_sources.tars(f)), label="cls", caption="txt", licence="json.rights"
    ),
    "hf_disk": lambda f: HfDisk(
        str(image_sources.hf_disk(f)),
        label="label",
        caption="text",
        licence_text="CC0",
        batch_rows=4,
    ),
}
MOST = {"webdataset": 3}  # shards: tar files are not divided
OPENMIX = SHARED / "data" / "openmix_64.parquet"


def everything(source):
    return list(source.items(0, 1))


def test_every_source_is_asked():
    assert SOURCES.keys() == {"digits", "mixture", *KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_follows_the_protocol(kind, tmp_path):
    source = KINDS[kind](tmp_path)
    assert isinstance(source, SOURCES[kind])
    assert isinstance(source, StreamedSource) and not isinstance(source, InMemorySource)
    described = choices.describe(SOURCES, source)
    assert choices.build(SOURCES, json.loads(json.dumps(described)), "s") == source


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_shards", [1, 2, 3, 5, 8, 40])
def test_shards_are_one_order_in_parts(kind, num_shards, tmp_path):
    source = KINDS[kind](tmp_path)
    num_shards = min(num_shards, MOST.get(kind, 40))
    parts = [list(source.items(shard, num_shards)) for shard in range(num_shards)]
    assert [item for part in parts for item in part] == everything(source)
    if kind not in MOST:
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
    wanted = image_sources.order_of_folder() if kind == "image_folder" else list(range(NUM))
    assert numbers(everything(source)) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_items_say_all(kind, tmp_path):
    items = everything(KINDS[kind](tmp_path))
    assert len({item.source_id for item in items}) == NUM
    for i, item in zip(numbers(items), items, strict=True):
        own = {"parquet": i % 3, "webdataset": i % 3}
        assert item.label == own.get(kind, image_sources.LABELS[i % 3]) and item.problem is None
        assert item.caption == (f"picture {i}" if i % 5 else "")
        rights = {"parquet": "CC0" if i % 2 else "MIT", "webdataset": "MIT"}
        assert item.licence == rights.get(kind, "CC0")
        deep = "deep/" if i % 2 else ""
        ids = {
            "parquet": f"id-{i}",
            "image_folder": f"{image_sources.LABELS[i % 3]}/{deep}{i:02d}.png",
            "hf_disk": f"row:{i}",
        }
        tar = 0 if i < 9 else 1 if i < 10 else 2
        name = f"part-{tar}.tar{'.gz' if tar == 1 else ''}/a/{i:03d}"
        assert item.source_id == ids.get(kind, name)


def test_shares_are_neighbours():
    for num, num_shards in ((10, 3), (2, 5), (0, 2), (7, 7)):
        parts = [shard_range(num, shard, num_shards) for shard in range(num_shards)]
        assert [i for part in parts for i in part] == list(range(num))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


# What texts are.


MARK = "\ufeff"


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    """In captions, labels, ids and licences of every source; elsewhere in a text it stays."""
    image, texts = encoded(noise(8, 8)), [f"{MARK}a cat", "a cat", f"a {MARK}cat"]
    folder = tmp_path / "folder"
    folder.mkdir()
    members, rows = [], []
    for i, text in enumerate(texts):
        (folder / f"{i}.png").write_bytes(image)
        (folder / f"{i}.txt").write_bytes(f"{text}\r\n".encode())
        meta = json.dumps({"text": text, "id": MARK + str(i), "rights": f"{MARK}MIT"}).encode()
        members += [(f"{i}.png", image), (f"{i}.txt", f"{text}\r\n".encode())]
        members += [(f"{i}.cls", f"{MARK}{i}".encode()), (f"{i}.json", MARK.encode() + meta)]
        rows.append({"image": image, "text": text, "id": MARK + str(i), "rights": f"{MARK}MIT"})
    wanted = ["a cat", "a cat", texts[2]]
    found = everything(ImageFolder(str(folder), "MIT", "sidecar"))
    assert [item.caption for item in found] == wanted
    path = image_sources.tar(tmp_path / "x.tar", members)
    options = {"label": "cls", "licence": "json.rights", "source_id": "json.id"}
    for caption in ("txt", "json.text"):
        found = tar_items(path, caption=caption, licence_text=None, **options)
        assert [item.caption for item in found] == wanted
        assert [(item.source_id, item.label, item.licence) for item in found] == [
            (str(i), i, "MIT") for i in range(3)
        ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    columns = {"caption": "text", "label": "text", "source_id": "id", "licence": "rights"}
    found = everything(Parquet(str(tmp_path / "x.parquet"), **columns))
    assert [(item.caption, item.label) for item in found] == [(text, text) for text in wanted]
    assert [(item.source_id, item.licence) for item in found] == [
        (str(i), "MIT") for i in range(3)
    ]


# Where files are.


def test_files_are_one_or_a_folder_or_a_glob(tmp_path):
    for name in ("b/2.tar", "a/1.tar", "a/x.txt", "0.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    suffixes = (".tar",)

    def found(path):
        return [name for name, _ in list_files(str(path), suffixes, "webdataset")]

    assert found(tmp_path) == ["0.tar", "a/1.tar", "b/2.tar"]
    assert found(tmp_path / "a" / "1.tar") == ["1.tar"]
    assert found(tmp_path / "*" / "*.tar") == ["a/1.tar", "b/2.tar"]
    assert found(tmp_path / "a" / "?.tar") == ["1.tar"]
    assert found(tmp_path / "**" / "[12].tar") == ["a/1.tar", "b/2.tar"]
    with refused("webdataset: path '.*/none' does not exist; correct `path`"):
        found(tmp_path / "none")
    for empty in (tmp_path / "*.gz", tmp_path / "a" / "x"):
        empty.mkdir() if empty.name == "x" else None
        with refused("webdataset: wanted files under path '.*' that end in .tar, got none;"):
            found(empty)


JUNK = b"\0\x05\x16\x07" + bytes(100)  # how macOS begins the file of another file's metadata


def hide_copies(folder):
    """Add hidden copies and hidden junk to every folder; a name more in every tar file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            hidden = path.parent / ".ipynb_checkpoints"
            hidden.mkdir(exist_ok=True)
            (hidden / f"{path.stem}-checkpoint{path.suffix}").write_bytes(path.read_bytes())
            (path.parent / f"._{path.name}").write_bytes(JUNK)
            (path.parent / f".{path.name}").write_bytes(path.read_bytes())


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_files_are_not_read(kind, tmp_path):
    source = KINDS[kind](tmp_path / ".cache" / "data")  # the folder itself may be hidden
    before = everything(source)
    hide_copies(tmp_path / ".cache" / "data")
    assert everything(source) == before and len(before) == NUM


def test_wildcards_match_no_hidden_files(tmp_path):
    image_sources.parquet(tmp_path / "a")
    hide_copies(tmp_path)

    def num(pattern):
        return len(everything(Parquet(str(tmp_path / pattern), licence_text="CC0")))

    assert num("*/*.parquet") == num("**/*.parquet") == num("a/[!x]*.parquet") == NUM
    assert num("a/.ipynb_checkpoints/*.parquet") == NUM  # asked for by name


def test_hidden_members_of_tar_files_are_not_read(tmp_path):
    """As macOS writes them: before each member, and in folders."""
    members = [m for i, d in enumerate(image_sources.images()) for m in image_sources.sample(i, d)]
    plain = tar_items(image_sources.tar(tmp_path / "x.tar", members), label="cls", caption="txt")
    hidden = [
        (name, data)
        for member in members
        for name, data in (
            (member[0].replace("a/", "a/._"), JUNK),
            (f".ipynb_checkpoints/{member[0]}", member[1]),
            member,
        )
    ]
    for start in ("", "./", "../"):
        here = [(start + name, data) for name, data in hidden]
        path = image_sources.tar(tmp_path / "x.tar", here)
        items = tar_items(path, label="cls", caption="txt")
        ids = [item.source_id.replace(f"/{start}a/", "/a/") for item in items]
        items = [item._replace(source_id=one) for item, one in zip(items, ids, strict=True)]
        assert items == plain and numbers(items) == list(range(NUM))


def test_a_relative_path_is_of_the_working_folder(tmp_path, monkeypatch):
    KINDS["parquet"](tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert len(everything(Parquet("data", licence_text="CC0"))) == NUM


@pytest.mark.parametrize("kind", KINDS)
def test_a_source_needs_a_path_and_a_licence(kind, tmp_path):
    options = {"path": str(tmp_path / "gone"), "licence_text": "CC0"}
    with refused(f"{kind}: path '.*gone' (does not exist|is not a folder); correct `path`"):
        everything(SOURCES[kind](**options))
    with refused(f"{kind}: wanted a licence for every image, got neither"):
        SOURCES[kind](**options | {"licence_text": "" if kind == "image_folder" else None})
    with refused("data.source.visibility: wanted 'public' or 'private', got 'secret'"):
        choices.build(SOURCES, {"name": kind, **options, "visibility": "secret"}, "data.source")


# Parquet.


def test_parquet_without_columns(tmp_path):
    items = everything(Parquet(str(image_sources.parquet(tmp_path)), licence_text="MIT"))
    assert {(item.label, item.caption, item.licence) for item in items} == {(-1, "", "MIT")}
    ids = [f"part-0.parquet:{i}" for i in range(10)] + [f"part-2.parquet:{i}" for i in range(13)]
    assert [item.source_id for item in items] == ids


def test_parquet_images_may_be_structures_and_labels_text(tmp_path):
    structures = [
        {"bytes": data, "path": f"{i}.png"} for i, data in enumerate(image_sources.images())
    ]
    structures[4] = {"bytes": None, "path": "4.png"}
    structures[5] = None
    names = pa.array(image_sources.columns()["label_name"]).dictionary_encode()
    folder = image_sources.parquet(tmp_path, image=structures, label_name=names)
    items = everything(Parquet(str(folder), label="label_name", licence_text="MIT"))
    assert [item.label for item in items] == image_sources.columns()["label_name"]
    assert [i for i, item in enumerate(items) if item.problem] == [4, 5]
    assert items[4].problem == items[5].problem == base.NO_IMAGE
    assert numbers(items[:4]) == [0, 1, 2, 3]


@pytest.mark.parametrize("num_shards", [1, 4])
def test_parquet_keeps_what_where_allows(num_shards, tmp_path):
    folder = str(image_sources.parquet(tmp_path))

    def kept(*where):
        source = Parquet(folder, licence_text="MIT", where=where, batch_rows=3)
        items = [item for s in range(num_shards) for item in source.items(s, num_shards)]
        for i, item in zip(numbers(items), items, strict=True):
            number, first = (0, 0) if i < 10 else (2, 10)
            assert item.source_id == f"part-{number}.parquet:{i - first}"
        return numbers(items)

    assert kept(("label", 1)) == list(range(1, NUM, 3))
    assert kept(("label_name", "birch"), ("rights", "CC0")) == list(range(1, NUM, 6))
    assert kept(("label", 1), ("label", 2)) == [i for i in range(NUM) if i % 3]
    assert kept(("key", "none")) == []


def test_parquet_rows_that_lack_something(tmp_path):
    found = image_sources.columns()
    for row, name in enumerate(("text", "key", "label", "rights")):
        found[name][row] = None
    names = {"label": "label", "caption": "text", "source_id": "key", "licence": "rights"}
    folder = str(image_sources.parquet(tmp_path, **found))
    items = everything(Parquet(folder, **names))
    problems = [None, base.NO_ID, base.NO_LABEL, base.NO_LICENCE, None]
    assert [item.problem for item in items[:5]] == problems
    assert items[0].caption == "" and items[1].source_id == "part-0.parquet:1"
    items = everything(Parquet(folder, **names, licence_text="other"))
    assert items[3].problem is None and items[3].licence == "other"
    assert items[4].licence == "MIT"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "imag"}, "parquet: image: .* has no column 'imag'; did you mean 'image'"),
        ({"label": "labels"}, "parquet: label: .* has no column 'labels'; did you mean 'label'"),
        ({"caption": "txt"}, "caption: .* has no column 'txt'; did you mean 'text'"),
        ({"source_id": "keys"}, "source_id: .* has no column 'keys'; did you mean 'key'"),
        ({"licence": "right"}, "licence: .* has no column 'right'; did you mean 'rights'"),
        ({"where": (("lable", 1),)}, "where: .* has no column 'lable'; did you mean 'label'"),
        ({"image": "text"}, "image: wanted a column of encoded bytes, got 'text' of type string"),
        ({"label": "image"}, "label: wanted a column of integers or text, got 'image'"),
        ({"caption": "label"}, "caption: wanted a column of text, got 'label' of type int64"),
        (
            {"where": (("label", "a"),)},
            "where: wanted values of type int64 for the column 'label'",
        ),
        (
            {"where": (("label", 2**63),)},
            "where: wanted values of type int64 for the column 'label'",
        ),
    ],
)
def test_parquet_columns_that_are_none(options, message, tmp_path):
    source = Parquet(str(image_sources.parquet(tmp_path)), **{"licence_text": "MIT"} | options)
    with refused(message):
        everything(source)


def test_parquet_files_that_are_none(tmp_path):
    path = image_sources.parquet(tmp_path) / "part-2.parquet"
    source, whole = Parquet(str(tmp_path), licence_text="MIT"), path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with refused("parquet: .*part-2.parquet cannot be read (.*); repair the file or remove it"):
        everything(source)
    broken = bytearray(whole)
    broken[100:4000] = bytes(3900)
    path.write_bytes(broken)
    with refused("parquet: .*part-2.parquet cannot be read"):
        everything(source)
    with refused("parquet: path '.*' has no rows; correct `path`"):
        everything(
            Parquet(str(image_sources.parquet(tmp_path / "e", sizes=(0,))), licence_text="MIT")
        )
    with refused("parquet: wanted batch_rows >= 1, got 0; raise it"):
        Parquet("x", licence_text="MIT", batch_rows=0)


def test_parquet_reads_the_row_groups_that_it_needs(tmp_path, monkeypatch):
    requested = []
    whole = pq.ParquetFile.iter_batches

    def spy(self, size, groups, names, **options):
        requested.append((groups, names))
        return whole(self, size, groups, names, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    source = Parquet(
        str(image_sources.parquet(tmp_path)), licence_text="MIT", where=(("label", 1),)
    )
    list(source.items(1, 5))  # rows 4..8 of the first file, whose groups have 4
    assert requested == [([1, 2], ["image", "label"])]
    requested.clear()
    list(source.items(2, 5))  # rows 9..12: the last of the first file, three of the third
    assert requested == [([2], ["image", "label"]), ([0], ["image", "label"])]


def test_openmix_is_divided():
    if not OPENMIX.is_file():
        pytest.skip("the images of openmix are not here")
    sizes = [len(shard_range(27_611, shard, 12)) for shard in range(12)]
    source = Parquet(str(OPENMIX), source_id="source_id", licence="license", label="label_name")
    first = [item for _, item in zip(range(50), source.items(11, 12), strict=False)]
    assert sum(sizes) == pq.read_metadata(OPENMIX).num_rows == 27_611
    names = pq.read_table(OPENMIX, columns=["source_id"])["source_id"].to_pylist()
    start = sum(sizes[:11])
    assert [item.source_id for item in first] == names[start : start + 50]
    assert all(item.image and item.licence and item.problem is None for item in first)


# Folders of images.


def test_image_folder_captions(tmp_path):
    path = str(image_sources.image_folder(tmp_path))
    assert {item.caption for item in everything(ImageFolder(path, "CC0"))} == {""}
    labels = {item.caption for item in everything(ImageFolder(path, "CC0", "label"))}
    assert labels == {"ash tree", "birch", "cedar"}
    (tmp_path / "birch" / "04.txt").write_bytes(b"\xff\xfe")
    items = everything(ImageFolder(path, "CC0", "sidecar"))
    assert [(i.source_id, i.problem) for i in items if i.problem] == [
        ("birch/04.png", base.NO_TEXT)
    ]


def test_image_folder_flat(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt"):
        (tmp_path / name).write_bytes(encoded(noise(8, 8)))
    items = everything(ImageFolder(str(tmp_path), "CC0"))
    assert [(item.source_id, item.label) for item in items] == [("a.jpg", ""), ("b.PNG", "")]
    (tmp_path / "only").mkdir()
    with refused("image_folder: wanted images .* under path '.*only', got none"):
        everything(ImageFolder(str(tmp_path / "only"), "CC0"))


def test_image_folder_follows_links(tmp_path):
    folder = image_sources.image_folder(tmp_path / "real")
    linked = tmp_path / "linked"
    linked.mkdir()
    os.symlink(folder / "birch", linked / "birch")
    os.symlink(folder / "cedar" / "02.png", linked / "one.png")
    os.symlink(tmp_path / "nowhere", linked / "two.png")
    items = everything(ImageFolder(str(linked), "CC0"))
    assert [item.source_id for item in items[-2:]] == ["one.png", "two.png"]
    birches = [
        i for i in image_sources.order_of_folder() if image_sources.LABELS[i % 3] == "birch"
    ]
    assert numbers(items[:-1]) == [*birches, 2]
    assert items[-1].problem == base.NO_FILE and items[-1].image is None
    os.symlink(folder, folder / "cedar" / "up")
    with refused("image_folder: the link .*cedar/up leads back to a folder above it; remove it"):
        everything(ImageFolder(str(folder), "CC0"))


# Tar files.


def tar_items(path, **options):
    return everything(WebDataset(str(path), **{"licence_text": "CC0"} | options))


def test_webdataset_fields(tmp_path):
    path = image_sources.tars(tmp_path)
    items = tar_items(path, source_id="json.key", caption="json.text")
    assert [item.source_id for item in items] == [f"id-{i}" for i in range(NUM)]
    assert [item.caption for item in items] == [
        f"picture {i}" if i % 5 else "" for i in range(NUM)
    ]
    assert {(item.label, item.licence) for item in items} == {(-1, "CC0")}
    with refused(
        "webdataset: wanted at most one shard per tar file, got 4 shards for 3 files; lower"
    ):
        list(WebDataset(str(path), licence_text="CC0").items(0, 4))


def test_webdataset_labels_are_numbers_or_text(tmp_path):
    image = encoded(noise(8, 8))
    labels = {"0": 0, "12\n": 12, "-1": -1, "oak": "oak", "1.5": "1.5", "9" * 30: "9" * 30}
    members = []
    for i, label in enumerate(labels):
        members += [(f"{i}.png", image), (f"{i}.cls", label.encode())]
    items = tar_items(image_sources.tar(tmp_path / "x.tar", members), label="cls")
    assert [item.label for item in items] == list(labels.values())


def test_webdataset_samples_that_lack_something(tmp_path):
    image = encoded(noise(8, 8))
    members = [
        *(("whole.webp", image), ("whole.cls", b"3"), ("whole.json", b'{"l": "MIT", "c": 5}')),
        *(("no_image.cls", b"3"), ("no_image.json", b'{"l": "MIT"}')),
        *(("no_label.png", image), ("no_label.json", b'{"l": "MIT"}')),
        *(("empty_label.png", image), ("empty_label.cls", b" "), ("empty_label.json", b"{}")),
        *(("no_licence.png", image), ("no_licence.cls", b"0"), ("no_licence.json", b"[1]")),
        *(("json.png", image), ("json.cls", b"0"), ("json.json", b'{"l": ')),
        *(("kind.png", image), ("kind.cls", b"0"), ("kind.json", b'{"l": "MIT", "c": [1]}')),
        *(("utf.png", image), ("utf.cls", b"\xff"), ("utf.json", b'{"l": "MIT"}')),
        *(("again.cls", b"0"), ("whole.cls", b"0"), ("README", b"nothing")),
    ]
    path = image_sources.tar(tmp_path / "x.tar", members)
    items = tar_items(path, label="cls", licence="json.l", caption="json.c", licence_text=None)
    found = {item.source_id.removeprefix("x.tar/"): item.problem for item in items[:-3]}
    assert found == {
        "whole": None,
        "no_image": base.NO_IMAGE,
        "no_label": base.NO_LABEL,
        "empty_label": base.NO_LABEL,
        "no_licence": base.NO_LICENCE,
        "json": base.NO_TEXT,
        "kind": base.NO_TEXT,
        "utf": base.NO_TEXT,
    }
    assert items[0].caption == "5" and items[0].label == 3
    # Members that are no neighbours are samples of their own, which have no image.
    rest = [(item.source_id, item.problem) for item in items[-3:]]
    names = ("x.tar/again", "x.tar/whole", "x.tar/README")
    assert rest == [(name, base.NO_IMAGE) for name in names]


def test_webdataset_takes_the_first_image_named(tmp_path):
    one, other = encoded(noise(8, 8)), encoded(noise(8, 8, seed=1))
    path = image_sources.tar(
        tmp_path / "x.tar", [("a.png", one), ("a.jpg", other), ("a.tif", b"")]
    )
    assert tar_items(path)[0].image == other
    assert tar_items(path, image=("png", "jpg"))[0].image == one
    assert tar_items(path, image=("tif",))[0].image == b""
    assert tar_items(image_sources.tar(tmp_path / "y.tar", [("a.JPG", one)]))[0].image == one


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("share_", [0.0, 0.002, 0.3, 0.6, 0.8])
def test_webdataset_cut_short(suffix, share_, tmp_path):
    mode = "w" if suffix == ".tar" else f"w:{suffix[5:]}"
    members = [
        m for i, data in enumerate(image_sources.images()) for m in image_sources.sample(i, data)
    ]
    path = image_sources.tar(tmp_path / f"x{suffix}", members, mode)
    whole = tar_items(path, label="cls")
    assert numbers(whole) == list(range(NUM))
    data = path.read_bytes()
    path.write_bytes(data[: int(share_ * len(data))])
    items = tar_items(path, label="cls")
    good = [item for item in items if item.problem is None]
    bad = [item for item in items if item.problem]
    assert good == whole[: len(good)] and len(good) < NUM
    assert (len(good) > 0) == (share_ > 0.1)
    assert bad[-1].source_id == path.name
    assert {item.problem for item in bad} == {base.CUT_ARCHIVE} and 1 <= len(bad) <= 2
    if len(bad) == 2:
        assert bad[0].source_id == f"{path.name}/a/{len(good):03d}"


def test_webdataset_cut_between_members_or_spoilt(tmp_path):
    """What tarfile takes for a regular end."""
    members = [
        m for i, data in enumerate(image_sources.images()) for m in image_sources.sample(i, data)
    ]
    path = image_sources.tar(tmp_path / "x.tar", members)
    whole = path.read_bytes()
    blocks = sum(512 + -(-len(data) // 512) * 512 for _, data in members[:10])
    spoilt = bytearray(whole)
    spoilt[blocks + 148] ^= 1  # the checksum of a header
    for data in (whole[:blocks], whole[: blocks + 100], bytes(spoilt)):
        path.write_bytes(data)
        items = tar_items(path)
        assert numbers(items[:1]) == [0] and len(items) == 3
        assert [item.source_id for item in items[1:]] == ["x.tar/a/001", "x.tar"]
        assert {item.problem for item in items[1:]} == {base.CUT_ARCHIVE}


def test_webdataset_goes_on_with_the_next_file(tmp_path):
    folder = image_sources.tars(tmp_path)
    (folder / "part-1.tar.gz").write_bytes(b"no archive")
    items = tar_items(folder)
    assert [item.source_id for item in items if item.problem] == ["part-1.tar.gz"]
    good = [item for item in items if item.problem is None]
    assert numbers(good) == [i for i in range(NUM) if i != 9]


def dotted(num, name="d/img v1.{}", more=()):
    """Members whose names have further dots: an image, a caption, and files that are not read."""
    made = image_sources.images()
    for i in range(num):
        start = name.format(i)
        yield from ((f"{start}.PNG", made[i % NUM]), (f"{start}.txt", f"picture {i}".encode()))
        yield from ((start + end, b"not read") for end in more)


@pytest.mark.parametrize("num", [1, 20, 150])
@pytest.mark.parametrize("more", [(), (".md", ".seg.tif")], ids=str)
def test_names_with_dots_are_samples(num, more, tmp_path):
    """One image, several, and more than are held at once: none is lost, each has its caption."""
    path = image_sources.tar(tmp_path / "x.tar", dotted(num, more=more))
    items = tar_items(path, caption="txt")
    assert numbers(items) == [i % NUM for i in range(num)]
    assert [(i.source_id, i.caption, i.problem) for i in items] == [
        (f"x.tar/d/img v1.{i}", f"picture {i}", None) for i in range(num)
    ]


def test_names_with_dots_by_extensions_with_dots(tmp_path):
    members = list(dotted(3, "a.{}", more=[".left.png", ".x.json"]))
    path = image_sources.tar(tmp_path / "x.tar", members)
    items = tar_items(path, image=("left.png",), caption="txt")
    assert [(i.source_id, i.image, i.caption) for i in items] == [
        (f"x.tar/a.{i}", b"not read", f"picture {i}") for i in range(3)
    ]


def test_a_group_with_an_image_is_one_sample(tmp_path):
    """The convention of WebDataset; also if images with longer extensions come first."""
    one, other = image_sources.images()[:2]
    first = [(f"a.{i}.png", other) for i in range(5)]
    path = image_sources.tar(tmp_path / "x.tar", [*first, ("a.png", one), ("a.6.png", other)])
    assert [(i.source_id, i.image) for i in tar_items(path)] == [("x.tar/a", one)]
    # With more members than are held, nothing is lost, whatever follows.
    many = [(f"a.{i}.png", other) for i in range(100)]
    path = image_sources.tar(tmp_path / "x.tar", [*many, ("a.png", one)])
    assert numbers(tar_items(path)) == [1] * 100 + [0]
    # A caption that no image of a split group has is a sample without image, which is rejected.
    path = image_sources.tar(tmp_path / "x.tar", [*first, ("a.txt", b"b"), ("b.txt", b"")])
    items = tar_items(path, caption="txt")
    assert [i.source_id for i in items if not i.problem] == [f"x.tar/a.{i}" for i in range(5)]
    bad = [(i.source_id, i.problem) for i in items if i.problem]
    assert bad == [("x.tar/a", base.NO_IMAGE), ("x.tar/b", base.NO_IMAGE)]


def linked_tar(path, members):
    """A tar file of (name, bytes), (name, "=target"), a hard link, and (name, "target")."""
    mode = "w" if path.suffix == ".tar" else f"w:{path.suffix[1:]}"
    with tarfile.open(path, mode) as file:
        for name, data in members:
            header = tarfile.TarInfo(name)
            if isinstance(data, str):
                header.type = tarfile.LNKTYPE if data.startswith("=") else tarfile.SYMTYPE
                header.linkname = data.removeprefix("=")
                file.addfile(header)
            else:
                header.size = len(data)
                file.addfile(header, io.BytesIO(data))
    return path


def linked_members():
    """Members whose captions are the text of the first, and images 9 and 10, which are image 0."""
    made = image_sources.images()
    members = [("a/0.png", made[0]), ("a/0.txt", b"a cat")]
    for i in range(1, 9):
        link = ("=a/0.txt", "0.txt", "../a/./0.txt", f"={'./' if i % 2 else ''}a/{i - 1}.txt")[
            i % 4
        ]
        members += [(f"a/{i}.png", made[i]), (f"a/{i}.txt", link)]
    members += [("b/9.png", "=a/0.png"), ("b/9.txt", "../a/8.txt")]
    members += [("b/10.png", "later/x.png"), ("b/10.txt", b"a dog"), ("b/later/x.png", made[0])]
    return members


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_links_in_tar_files_are_what_they_name(suffix, tmp_path):
    path = linked_tar(tmp_path / f"x{suffix}", linked_members())
    items = tar_items(path, caption="txt")
    assert [item.source_id.removeprefix(f"{path.name}/") for item in items] == [
        *(f"a/{i}" for i in range(9)),
        *("b/9", "b/10", "b/later/x"),
    ]
    assert numbers(items) == [*range(9), 0, 0, 0]
    assert [item.caption for item in items] == ["a cat"] * 10 + ["a dog", ""]
    assert {item.problem for item in items} == {None}


def test_links_to_names_that_recur(tmp_path):
    """As extracted: a hard link is the last member before it, a symbolic link the last one."""
    one, two, three = image_sources.images()[:3]
    members = [("t.png", one), ("u.png", two), ("t.png", two), ("h.png", "=t.png")]
    members += [("s.png", "t.png"), ("t.png", three)]
    items = tar_items(linked_tar(tmp_path / "x.tar", members))
    assert numbers(items) == [0, 1, 1, 1, 2, 2]


def test_links_that_lead_nowhere_are_rejected(tmp_path):
    """Also those to files that this machine has: nothing outside the archive is read."""
    outside = tmp_path / "outside.png"
    outside.write_bytes(image_sources.images()[0])
    (tmp_path / "t.txt").write_text("no caption")
    image = image_sources.images()[1]
    broken = {
        "gone": "=none.png",
        "later": "=z.png",  # a hard link to a later member
        "absolute": str(outside),
        "above": "../outside.png",
        "itself": "itself.png",
        "one": "two.png",
        "two": "one.png",
        "folder": "d",
    }
    members = [("d/0.png", image), *((f"{name}.png", link) for name, link in broken.items())]
    members += [("t.png", image), ("t.txt", "/t.txt"), ("u.png", image), ("u.md", "none")]
    members += [("z.png", image)]
    path = linked_tar(tmp_path / "x.tar", members)
    items = {
        item.source_id.removeprefix("x.tar/"): item for item in tar_items(path, caption="txt")
    }
    bad = {name for name, item in items.items() if item.problem}
    assert bad == {*broken, "t"} and {items[name].problem for name in bad} == {base.NO_FILE}
    assert numbers([items[name] for name in ("d/0", "u", "z")]) == [1, 1, 1]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.7])
def test_links_in_a_tar_file_that_is_cut(suffix, part, tmp_path):
    """The samples before the cut are those of the whole file."""
    path = linked_tar(tmp_path / f"x{suffix}", linked_members())
    whole = {item.source_id: item for item in tar_items(path, caption="txt")}
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    items = tar_items(path, caption="txt")
    # Without wanted extensions, no link is read.
    assert [i.source_id for i in items] == [i.source_id for i in tar_items(path, image=("none",))]
    assert len(items) > 2 and items[-1] == base.Item(path.name, None, problem=base.CUT_ARCHIVE)
    for item in items[:-2]:  # only b/10 has a link to a later member
        is_lost = item.source_id.endswith("b/10")
        assert item == whole[item.source_id] or (is_lost and item.problem == base.NO_FILE)
    assert items[-2].problem == base.CUT_ARCHIVE
    assert [item.source_id for item in items[:-1]] == list(whole)[: len(items) - 1]


# Arrow on disk.


def test_hf_disk_splits(tmp_path):
    path = str(image_sources.hf_disk(tmp_path / "d", split="train"))
    items = everything(HfDisk(path, "train", licence_text="CC0"))
    assert numbers(items) == list(range(NUM)) and items[3].source_id == "train:3"
    assert len(everything(HfDisk(path, "rest", licence_text="CC0"))) == 1
    for split in ("trein", None):
        with refused(f"hf_disk: split: path '.*' has no split {split!r}; "):
            everything(HfDisk(path, split, licence_text="CC0"))
    plain = str(image_sources.hf_disk(tmp_path / "p"))
    with refused("hf_disk: split: path '.*' is one dataset without splits, got 'train'; remove"):
        everything(HfDisk(plain, "train", licence_text="CC0"))
    with refused("hf_disk: label: .* has no column 'lebel'; did you mean 'label'"):
        everything(HfDisk(plain, label="lebel", licence_text="CC0"))
    with refused(
        "hf_disk: wanted a folder written by save_to_disk, got '.*', which has other files"
    ):
        everything(HfDisk(str(tmp_path), licence_text="CC0"))


def test_hf_disk_rows_chosen_and_classes_unknown(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Image

    image = [{"bytes": data, "path": None} for data in image_sources.images()]
    label = [-1 if i == 2 else None if i == 4 else i % 3 for i in range(NUM)]
    features = Features(image=Image(), label=ClassLabel(names=image_sources.LABELS))
    dataset = Dataset.from_dict({"image": image, "label": label}, features=features)
    order = [5, 2, 4, 17, 0]
    dataset.select(order).save_to_disk(str(tmp_path / "d"))
    source = HfDisk(str(tmp_path / "d"), label="label", licence_text="CC0", batch_rows=2)
    items = everything(source)
    assert numbers(items) == order
    assert [item.problem for item in items] == [None, base.NO_LABEL, base.NO_LABEL, None, None]
    assert [items[0].label, items[3].label] == ["cedar", "cedar"]
    assert [item.source_id for item in items] == [f"row:{i}" for i in range(5)]
    captions = everything(HfDisk(str(tmp_path / "d"), caption="label", licence_text="CC0"))
    assert captions[0].caption == "cedar" and captions[1].caption == ""
