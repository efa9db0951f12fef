"""What assigning images to clusters costs: time linear in the images, memory flat.

    python benchmarks/partition.py [--check]

The stage `partition` itself runs on made-up features in shards, each size in a fresh process. The
fit looks at the same number of images at any size; the table has what comes after it: clusters by
the rule, centroids, distances, and the table of assignments with its checksum.

    cpu_s      CPU seconds of that, the median of the repeats (what else runs does not count)
    us_per_row the same per image
    anon_mib   the highest resident memory that is not a mapped file, over that before the stage

An index row costs memory (split, label, shard, row, clusters: some 150 bytes); features do not.
With --check the exit status is 1 if the time per image of any size is more than 1.3 times that of
another, or if the memory grows by more than 200 bytes per image.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

RATIO, BYTES = 1.3, 200
DIM, SHARD, FIT = 128, 20_000, 4000
METHODS = {
    "kmeans": {"num_clusters": 8},
    "balanced_kmeans": {"num_clusters": 8},
    "two_stage": {"num_clusters": 8, "num_fine": 256},
    "labels": {"num_clusters": 8},
}


def world(folder: Path, num: int) -> None:
    """Write an index of `num` images with ten labels, and their features in shards."""
    import numpy as np
    import pandas as pd

    from routing.workflow.job import Job

    rng = np.random.default_rng(0)
    label = np.arange(num) % 10
    centres = 2 * rng.standard_normal((10, DIM), np.float32)
    for i, first in enumerate(range(0, num, SHARD)):
        here = label[first : first + SHARD]
        with Job("embed", {}, {"features": folder / f"features-{i}.safetensors"}, {}) as job:
            x = centres[here] + rng.standard_normal((len(here), DIM), np.float32)
            job.write_arrays("features", {"features": x})
    index = pd.DataFrame({"sample_id": np.arange(num), "label": label})
    index["split"] = np.where(np.arange(num) % 5 == 4, "heldout", "train")
    index["shard"], index["row"] = np.arange(num) // SHARD, np.arange(num) % SHARD
    with Job("data", {}, {"index": folder / "index.parquet"}, {}) as job:
        job.write_table("index", index)


def found(folder: Path) -> dict[str, list[Path]]:
    """The inputs in `folder`."""
    return {
        "index": [folder / "index.parquet"],
        "features": [
            folder / f"features-{i}.safetensors" for i in range(len(list(folder.glob("f*"))))
        ],
    }


def anonymous() -> int:
    """Bytes of resident memory that no file stands behind."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise OSError("/proc/self/status: wanted RssAnon, got none; this needs Linux 4.5")


class Peak(threading.Thread):
    """The highest `anonymous` until it is told to stop."""

    def __init__(self):
        super().__init__(daemon=True)
        self.highest, self.over = 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.002):
            self.highest = max(self.highest, anonymous())


def measure(folder: Path, name: str, repeats: int) -> None:
    """Print one measurement as JSON. The first stage, on little, loads what stages load."""
    import faiss

    from routing.stages import partition
    from routing.workflow.job import Job

    seconds = []

    def timed(function):
        def run(*args, **options):
            start = time.process_time()
            made = function(*args, **options)
            seconds.append(time.process_time() - start)
            return made

        return run

    class TimedJob(Job):
        write_table_blocks = timed(Job.write_table_blocks)

    partition.assign_all = timed(partition.assign_all)
    faiss.omp_set_num_threads(1)  # a spinning thread is CPU time too

    def stage(inputs: dict, to: Path) -> None:
        method = {"name": name, "max_fit": FIT} | METHODS[name]
        spec = {"seed": 0, "partition": "p", "method": method, "num_clusters": 8}
        names = ("assignments.parquet", "centroids.safetensors", "report.parquet")
        outputs = {file.split(".")[0]: to / file for file in names}
        with TimedJob("partition", inputs, outputs, spec) as job:
            partition.run(job)

    stage(found(folder / "warm"), folder)
    seconds.clear()
    before, peak = anonymous(), Peak()
    peak.start()
    for _ in range(repeats):
        stage(found(folder), folder)
    peak.over.set()
    each = [sum(seconds[i : i + 2]) for i in range(0, len(seconds), 2)]
    assert len(each) == repeats
    print(json.dumps({"cpu_s": median(each), "bytes": peak.highest - before}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 40_000, 160_000])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["kmeans", "two_stage"])
    parser.add_argument("--repeats", type=int, default=3, help="of the largest size")
    parser.add_argument("--check", action="store_true", help="fail where a bound is missed")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        measure(Path(options.child[0]), options.child[1], options.repeats)
        return 0
    print(f"{DIM} dimensions, shards of {SHARD} rows, 1 thread, {options.repeats} repeats\n")
    print(f"{'method':<16}{'images':>8}{'cpu_s':>9}{'us_per_row':>12}{'anon_mib':>10}")
    is_missed = False
    for name in options.methods:
        results = []
        for num in options.sizes:
            with tempfile.TemporaryDirectory() as folder:
                world(Path(folder), num)
                world(Path(folder) / "warm", 6000)
                repeats = options.repeats * max(1, min(8, max(options.sizes) // num))
                words = [sys.executable, __file__, "--repeats", str(repeats)]
                done = subprocess.run(
                    [*words, "--child", folder, name],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
            results.append(json.loads(done.stdout.splitlines()[-1]))
            cpu_s, mib = results[-1]["cpu_s"], results[-1]["bytes"] / 2**20
            print(f"{name:<16}{num:>8}{cpu_s:>9.2f}{1e6 * cpu_s / num:>12.1f}{mib:>10.1f}")
        per_row = [r["cpu_s"] / num for r, num in zip(results, options.sizes, strict=True)]
        ratio = max(per_row) / min(per_row)
        more = max(options.sizes) - min(options.sizes)
        growth = (results[-1]["bytes"] - results[0]["bytes"]) / max(more, 1)
        print(
            f"{'':<16}time per image within {ratio:.2f} (bound {RATIO}), memory grows by "
            f"{growth:.0f} bytes per image (bound {BYTES}; features are {4 * DIM})\n"
        )
        is_missed |= ratio > RATIO or growth > BYTES
    return int(options.check and is_missed)


if __name__ == "__main__":
    sys.exit(main())
