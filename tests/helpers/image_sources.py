"""The same 23 images, of 3 labels and with captions, as every kind of source."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
from encoded_images import encoded, noise

NUM = 23
LABELS = ["ash_tree", "birch", "cedar"]


def images():
    """Encoded images, all different."""
    return [encoded(noise(10, 12, seed=i)) for i in range(NUM)]


def columns():
    """Columns of a table of these images."""
    return {
        "image": images(),
        "label": [i % 3 for i in range(NUM)],
        "label_name": [LABELS[i % 3] for i in range(NUM)],
        "text": [f"picture {i}" if i % 5 else "" for i in range(NUM)],
        "key": [f"id-{i}" for i in range(NUM)],
        "rights": ["CC0" if i % 2 else "MIT" for i in range(NUM)],
    }


def parquet(folder, sizes=(10, 0, 13), groups=4, **changed):
    """Files of `sizes` rows with `groups` rows per row group; a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns() | changed)
    first = 0
    for i, size in enumerate(sizes):
        path = folder / f"part-{i}.parquet"
        pq.write_table(table.slice(first, size), path, row_group_size=groups)
        first += size
    return folder


def image_folder(folder):
    """A folder per label; some images have a caption file beside them."""
    for i, data in enumerate(images()):
        place = folder / LABELS[i % 3] / ("deep" if i % 2 else "")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:02d}.png").write_bytes(data)
        if i % 5:
            (place / f"{i:02d}.txt").write_text(f"picture {i}\n")
    (folder / "readme.md").write_text("no image")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def tar(path, members, mode="w"):
    """A tar file of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as file:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            file.addfile(header, io.BytesIO(data))
    return path


def sample(i, data):
    """The members of one sample; their order depends on i."""
    fields = {"text": f"picture {i}" if i % 5 else None, "rights": "MIT", "key": f"id-{i}"}
    members = [
        (f"a/{i:03d}.png", data),
        (f"a/{i:03d}.cls", str(i % 3).encode()),
        (f"a/{i:03d}.txt", f"picture {i}".encode() if i % 5 else b""),
        (f"a/{i:03d}.json", json.dumps(fields).encode()),
        (f"a/{i:03d}.seg.png", b"not read"),
    ]
    return members[i % 5 :] + members[: i % 5]


def tars(folder, sizes=(9, 1, 13), suffixes=(".tar", ".tar.gz", ".tar")):
    """Tar files of `sizes` samples; a folder."""
    made = images()
    first = 0
    for number, (size, suffix) in enumerate(zip(sizes, suffixes, strict=True)):
        members = [m for i in range(first, first + size) for m in sample(i, made[i])]
        tar(folder / f"part-{number}{suffix}", members, "w:gz" if suffix.endswith("gz") else "w")
        first += size
    return folder


def hf_disk(folder, split=None):
    """A dataset of Hugging Face on disk, with an image feature and a class label."""
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

    found = columns()
    data = {
        "image": [{"bytes": b, "path": None} for b in found["image"]],
        "label": found["label"],
        "text": found["text"],
    }
    features = Features(image=Image(), label=ClassLabel(names=LABELS), text=Value("string"))
    dataset = Dataset.from_dict(data, features=features)
    dataset = DatasetDict({split: dataset, "rest": dataset.select([0])}) if split else dataset
    dataset.save_to_disk(str(folder))
    return folder


def order_of_folder():
    """Numbers of the images in the order of `image_folder`."""
    names = [(LABELS[i % 3], *(["deep"] if i % 2 else []), f"{i:02d}.png") for i in range(NUM)]
    return sorted(range(NUM), key=lambda i: names[i])


def numbers(items):
    """Numbers of the images of these items."""
    made = {data: i for i, data in enumerate(images())}
    return [made[item.image] for item in items]
