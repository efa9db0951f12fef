"""What a shard of images costs to read: memory that does not grow, and time beside bare Pillow.

    python benchmarks/data.py [--check]

memory: one shard of 5,000 and one of 25,000 images (JPEG, 96 pixels), written as Parquet and as
tar files, goes through the stage `data`, each in a fresh process; its peak is `ru_maxrss`. The
factor is the larger over the smaller. What may grow are the rows: ids, labels and captions.

time: images of 256 pixels by the stage with one thread (reading, digests, decoding, writing,
checksums), and by a loop that calls Pillow alone (open, crop, convert, resize) on the same bytes.
Both run in turn; the factor is the median over rounds of bare seconds over the stage's seconds.

With --check the exit status is 1 if a factor is beyond its bound.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from routing.stages import data
from routing.workflow.job import Job

MEMORY_BOUND = 1.05  # peak at the larger size over peak at the smaller
TIME_BOUND = 0.8  # images per second and thread, of those of Pillow alone
DISTINCT = 200
ROWS = 1000  # in a row group, or in a tar file
SIZE = 32


def jpegs(side: int) -> list[bytes]:
    """Encoded pictures, some smooth and some rough, as photographs are."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 256, (6 + i % 20, 6 + i % 20, 3), np.uint8))
        file = io.BytesIO()
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


def write_parquet(folder: Path, images: list[bytes], num: int) -> dict:
    """`num` rows; returns the source."""
    path = folder / "images.parquet"
    schema = pa.schema({"image": pa.binary(), "label": pa.int64(), "text": pa.string()})
    # As where all images differ: a dictionary of a few would be held whole.
    with pq.ParquetWriter(path, schema, use_dictionary=["text"]) as writer:
        for first in range(0, num, ROWS):
            rows = range(first, min(first + ROWS, num))
            columns = {
                "image": [images[i % DISTINCT] for i in rows],
                "label": [i % 10 for i in rows],
                "text": [f"the picture with the number {i}" for i in rows],
            }
            writer.write_table(pa.table(columns, schema), row_group_size=ROWS)
    return {"name": "parquet", "path": str(path), "label": "label", "caption": "text"}


def write_tars(folder: Path, images: list[bytes], num: int) -> dict:
    """`num` samples; returns the source."""
    for first in range(0, num, ROWS):
        with tarfile.open(folder / f"images-{first:08d}.tar", "w") as file:
            for i in range(first, min(first + ROWS, num)):
                text = f"the picture with the number {i}".encode()
                for name, body in (("jpg", images[i % DISTINCT]), ("txt", text), ("cls", b"7")):
                    header = tarfile.TarInfo(f"{i:08d}.{name}")
                    header.size = len(body)
                    file.addfile(header, io.BytesIO(body))
    return {"name": "webdataset", "path": str(folder), "label": "cls", "caption": "txt"}


WRITERS = {"parquet": write_parquet, "webdataset": write_tars}


def stage(folder: Path, source: dict) -> float:
    """One shard through the stage; returns seconds."""
    kinds = {"samples": "safetensors", "rows": "parquet", "rejected": "parquet"}
    outputs = {name: folder / f"{name}.{kind}" for name, kind in kinds.items()}
    spec = {
        "seed": 0,
        "source": source | {"licence_text": "CC0"},
        "image": {"size": SIZE, "filter": "lanczos"},
        "shard": 0,
        "num_shards": 1,
    }
    start = time.perf_counter()
    with Job("data", {}, outputs, spec) as job:
        data.run(job)
    return time.perf_counter() - start


def bare(images: list[bytes], num: int) -> float:
    """Pillow alone on the same bytes; returns seconds."""
    start = time.perf_counter()
    for i in range(num):
        image = Image.open(io.BytesIO(images[i % DISTINCT]))
        square = image.crop((0, 0, image.width, image.width)).convert("RGB")
        np.asarray(square.resize((SIZE, SIZE), Image.Resampling.LANCZOS))
    return time.perf_counter() - start


def peak_mib(folder: Path, source: dict, threads: int) -> float:
    """Peak memory of a fresh process that runs the stage."""
    command = [sys.executable, __file__, "--shard", json.dumps([str(folder), source])]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)


def measure_memory(sizes: list[int], threads: int) -> float:
    """The table of peaks; returns the largest factor."""
    images, worst = jpegs(96), 0.0
    print(f"{'memory':<14}" + "".join(f"{f'{n:,} images':>16}" for n in sizes) + f"{'factor':>10}")
    for name, write in WRITERS.items():
        peaks = []
        for num in sizes:
            with tempfile.TemporaryDirectory() as folder:
                peaks.append(peak_mib(Path(folder), write(Path(folder), images, num), threads))
        factor = peaks[-1] / peaks[0]
        print(f"{name:<14}" + "".join(f"{p:>12.1f} MiB" for p in peaks) + f"{factor:>10.3f}")
        worst = max(worst, factor)
    return worst


def measure_time(num: int, rounds: int) -> float:
    """The table of rates; returns the factor."""
    os.environ["OMP_NUM_THREADS"] = "1"
    images = jpegs(256)
    seconds: dict[str, list[float]] = {"bare": [], "stage": []}
    with tempfile.TemporaryDirectory() as folder:
        source = write_parquet(Path(folder), images, num)
        runs = {"bare": lambda: bare(images, num), "stage": lambda: stage(Path(folder), source)}
        for number in range(rounds + 1):
            for name in sorted(runs, reverse=number % 2 == 1):
                spent = runs[name]()
                if number:  # the first round is to be warm
                    seconds[name].append(spent)
    print(f"\n{'time':<14}{'images/s':>16}")
    for name, spent in seconds.items():
        print(f"{name:<14}{num / median(spent):>16.0f}")
    return median(b / s for b, s in zip(seconds["bare"], seconds["stage"], strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs=2, default=[5_000, 25_000])
    parser.add_argument("--images", type=int, default=500, help="for the time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="for the memory")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--shard", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shard:
        folder, source = json.loads(options.shard)
        stage(Path(folder), source)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # KiB on Linux
        return 0
    memory = measure_memory(options.sizes, options.threads)
    rate = measure_time(options.images, options.rounds)
    print(f"\nlarger / smaller  {memory:.3f}  (bound {MEMORY_BOUND:.2f})")
    print(f"stage / bare      {rate:.3f}  (bound {TIME_BOUND:.2f})")
    return int(options.check and (memory > MEMORY_BOUND or rate < TIME_BOUND))


if __name__ == "__main__":
    sys.exit(main())
