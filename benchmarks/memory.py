"""What the metrics hold in memory at 50,000 samples of 2,048 numbers.

    python benchmarks/memory.py [--check] [--full] [--metrics frechet kernel ...]

Every metric that reads features: the stages `reference_statistics` and `arm_metrics`, in a process
of their own each, with 20 blocks of the jackknife and 200 draws, as many training images as
samples and a fifth of that held out.

    peak       VmHWM, the most that was ever resident, as the kernel counts it: with the pages of
               mapped files (features, libraries), which it may drop at any time
    anon       the highest RssAnon seen (every 10 ms), what no file stands behind

The bound is on the peak, the larger of the two. Measured at 4,000 and 12,000 samples and drawn as
a line to 50,000, of one metric of each sort (--metrics says which), with a jackknife of 2 blocks
where each block costs decompositions; with --full all are measured at 50,000 (about two hours and
a half on one core). --stop ends a stage after so many CPU seconds: what it held until then is
shown with a star, and passes no check. With --check the exit status is 1 where a bound is missed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from metrics import BLOCKS, CLUSTERS, DRAWS, drawn

NUM, DIM, GIB = 50_000, 2048, 4.0
CLASSES = 10
SIZES = 4000, 12_000
FEW_BLOCKS = {"frechet_infinity": 2, "cluster_frechet": 2}  # where a line is drawn
SOME = "frechet", "kernel", "inception_score", "neighbours", "vendi", "copies", "cluster_frechet"
READ = (
    "frechet",
    "frechet_infinity",
    "kernel",
    "energy",
    "cmmd",
    "inception_score",
    "neighbours",
    "vendi",
    "copies",
    "cluster_frechet",
    "cluster_kernel",
    "cluster_recall",
    "class_shares",
    "cluster_shares",
)


def world(folder: Path, num: int) -> None:
    """The files that the stages read: `num` training images and as many samples of one arm."""
    import numpy as np
    import pandas as pd
    import torch

    from routing.workflow.job import Job

    def write(stage: str, name: str, content, **notes) -> None:
        with Job(stage, {}, {"made": folder / name}, {}) as job:
            if isinstance(content, pd.DataFrame):
                job.write_table("made", content, **notes)
            else:
                job.write_arrays("made", {k: np.asarray(v) for k, v in content.items()}, **notes)

    space = {"name": "inception", "extractor": "inception", "weights": None, "resize": None}
    space |= {"precision": "float32", "image": [3, 32, 32]}
    rng = torch.Generator().manual_seed(9)
    total, shard = num + num // 5, -(-num // 5)
    centroids = drawn(CLUSTERS, DIM, 0)
    labels = np.arange(total) // CLUSTERS % CLASSES
    distance = []
    for i, first in enumerate(range(0, total, shard)):
        x = drawn(min(shard, total - first), DIM, i)
        distance.append(torch.cdist(x, centroids))
        here = torch.from_numpy(labels[first : first + shard])
        logits = 3.0 * torch.nn.functional.one_hot(here, CLASSES)
        write(
            "embed",
            f"real-{i}.safetensors",
            {"features": x, "logits": logits},
            feature_space=space,
        )
    index = pd.DataFrame({"split": np.where(np.arange(total) < num, "train", "heldout")})
    index["label"], index["caption"] = labels, ""
    index["shard"], index["row"] = np.arange(total) // shard, np.arange(total) % shard
    write("data", "index.parquet", index)
    divided = pd.DataFrame({"cluster": np.zeros(total, np.int64)})
    for k, column in enumerate(torch.cat(distance).T):
        divided[f"distance_{k}"] = column.numpy()
    write("partition", "assignments.parquet", divided)
    write("partition", "centroids.safetensors", {"centroids": centroids})
    arm = {"features": drawn(num, DIM, 50, 0.02)}
    arm["logits"] = torch.randn(num, CLASSES, generator=rng)
    arm["inception_logits"] = 2 * torch.randn(num, 1008, generator=rng)
    arm["requested"] = torch.arange(num)[:, None] % CLASSES
    write("features", "arm.safetensors", arm, feature_space=space)


def stage(options) -> dict:
    """One stage with one metric: what it took."""
    import importlib

    from routing.workflow.job import Job

    folder, name, num = Path(options.folder), options.metric, options.samples
    real = sorted(folder.glob("real-*.safetensors"), key=lambda p: int(p.stem.split("-")[1]))
    made = folder / "made" / (options.key if options.stage == "reference_statistics" else name)
    made.mkdir(parents=True, exist_ok=True)
    known = folder / "made" / options.key / "references.safetensors"
    entry = [{"name": name}] if name else []
    spec = {"seed": 0, "num_blocks": options.blocks, "list": entry}
    if options.stage == "reference_statistics":
        spec |= {"feature_space": "inception", "num_references": None, "num_samples": num}
        spec |= {"num_clusters": CLUSTERS}
        inputs = {"real": real, "assignments": [folder / "assignments.parquet"]}
        outputs = {n: made / f"{n}.safetensors" for n in ("references", "heldout")}
    else:
        spec |= {
            "arm": "arm",
            "feature_spaces": ["inception"],
            "shares_feature_space": "inception",
            "caption_feature_spaces": [],
        }
        spec |= {"num_training_seeds": 1, "feature_space": "inception", "reference_arm": "arm"}
        spec |= {"lpips": None, "num_bootstrap": DRAWS, "nearest_feature_spaces": ["inception"]}
        spec |= {"num_samples": num}
        inputs = {"features": [folder / "arm.safetensors"], "references": [known]}
        if name == "copies":
            inputs["real"] = real
        inputs["centroids"] = [folder / "centroids.safetensors"]
        outputs = {n: made / f"{n}.parquet" for n in ("replicates", "bootstrap", "scores")}
    inputs["index"] = [folder / "index.parquet"]
    module, cpu = importlib.import_module(f"routing.stages.{options.stage}"), time.process_time()
    with Job(options.stage, inputs, outputs, spec) as job:
        module.run(job)
    return {"cpu_s": time.process_time() - cpu}


def child(options, **more) -> dict:
    """What a stage took in a process of its own, time and memory."""
    words = {"threads": options.threads} | more
    flags = [text for key, value in words.items() for text in (f"--{key}", str(value))]
    threads = {f"{name}_NUM_THREADS": str(options.threads) for name in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, __file__, "--child", *flags]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | threads)
    memory, cpu_s = {"peak": 0, "anon": 0}, 0.0
    while run.poll() is None and cpu_s <= options.stop:
        held = resident(run.pid)
        memory |= {key: max(memory[key], held.get(key, 0)) for key in memory}
        cpu_s = spent(run.pid)
        time.sleep(0.01)
    if is_stopped := run.poll() is None:
        run.kill()
    said, _ = run.communicate()
    if run.returncode and not is_stopped:
        raise SystemExit(f"{more}: exit status {run.returncode}")
    found = {"cpu_s": cpu_s} if is_stopped else json.loads(said.splitlines()[-1])
    return found | memory | {"is_stopped": is_stopped}


def resident(pid: int) -> dict[str, int]:
    """Bytes of a process: the most that was resident, and what is and no file stands behind."""
    names = {"VmHWM:": "peak", "RssAnon:": "anon"}
    lines = [line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return {names[line[0]]: 1024 * int(line[1]) for line in lines if line[0] in names}


def spent(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(options) -> bool:
    """Whether no stage holds more than it may."""
    from routing.metrics.registry import METRICS

    sizes = [NUM] if options.full else options.sizes
    rows = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        for num in sizes:
            folder = Path(root) / str(num)
            folder.mkdir()
            world(folder, num)
            fitted = {}
            for name in options.metrics or (READ if options.full else SOME):
                measure = METRICS[name]()
                key = measure.reference_key() if measure.reference_type else "none"
                blocks = BLOCKS if options.full else FEW_BLOCKS.get(name, BLOCKS)
                more = {"folder": folder, "samples": num, "key": key, "blocks": blocks}
                entry = {"metric": name if measure.reference_type else ""}
                if key not in fitted:
                    fitted[key] = child(options, stage="reference_statistics", **more, **entry)
                scored = {"peak": 0, "anon": 0, "cpu_s": 0.0, "is_stopped": True}
                if not fitted[key]["is_stopped"]:
                    scored = child(options, stage="arm_metrics", metric=name, **more)
                rows.setdefault(name, []).append((fitted[key], scored))
                if options.full:
                    print(name, fitted[key], scored, file=sys.stderr, flush=True)
    print(f"GiB at {NUM} samples and training images of {DIM} numbers, CPU seconds at {sizes[-1]}")
    titles = (("metric", -18), ("fit peak", 9), ("anon", 7), ("cpu_s", 8))
    titles += (("arm peak", 11), ("anon", 7), ("cpu_s", 8))
    print("".join(f"{t:<{-w}}" if w < 0 else f"{t:>{w}}" for t, w in titles))
    worst = 0.0
    for name, measured in rows.items():
        line = f"{name:<18}"
        for i, width in enumerate((9, 10)):
            gib = {}
            for key in ("peak", "anon"):
                sized = [pair[i][key] / 2**30 for pair in measured]
                slope = (sized[-1] - sized[0]) / max(sizes[-1] - sizes[0], 1)
                gib[key] = sized[-1] + max(slope, 0.0) * (NUM - sizes[-1])
            last = measured[-1][i]
            worst = max(worst, math.inf if last["is_stopped"] else gib["peak"])
            line += f"{gib['peak']:>{width}.2f}{gib['anon']:>7.2f}{last['cpu_s']:>8.1f}"
            line += "*" if last["is_stopped"] else " "
        print(line)
    print(f"peak {GIB:.0f} at most; * stopped before its end\n", flush=True)
    return worst <= GIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--metrics", nargs="+", choices=READ)
    parser.add_argument("--full", action="store_true", help=f"measure at {NUM} samples")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--stop", type=float, default=math.inf, metavar="CPU_S", help="of a child")
    parser.add_argument("--folder", help="where the files are put for a while")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="fail where the bound is missed")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    for hidden in ("stage", "metric", "key"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    for hidden in ("blocks", "samples"):
        parser.add_argument(f"--{hidden}", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(stage(options)))
        return 0
    return int(not show(options) and options.check)


if __name__ == "__main__":
    sys.exit(main())
