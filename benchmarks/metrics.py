"""What the metrics cost: many arms, many draws of a bootstrap, and 50,000 samples in memory.

    python benchmarks/metrics.py [--check] [--parts frechet bootstrap memory] [--full]

    frechet    20 arms against one reference, 2,048 numbers. `stage`: what the pipeline does for an
               arm, its distance and 20 more with a block of seeds left out each, in one call of
               frechet_distance on a reference that is fitted once. `value`: the distance alone.
               theirs: torch-fidelity's functions on the same features, fid_features_to_statistics
               and fid_statistics_to_metric for each of these sets, statistics of the reference
               once (in `alone`, of the ratio, once for each call). With more samples than
               dimensions both must agree; with fewer, the product of the covariances is singular:
               there ours is held against singular values, and what theirs differs by is shown. A
               call of theirs takes seconds, the same for all sets of a size: 20 arms are the
               quickest of --rounds calls times 20, and 21 for `stage`; of ours the quickest of as
               many, in turn. The bound is on `stage`.
    bootstrap  every metric that resamples: the difference of two arms once, and 200 paired draws
               of it with their interval; the counts are drawn once for all arms and metrics, and
               have a row of their own.
    memory     every metric that reads features: the stages references and scores themselves, in a
               process of their own each, with 20 blocks of the jackknife and 200 draws, as many
               training images as samples and a fifth of that held out.

    peak       VmHWM, the most that was ever resident, as the kernel counts it: with the pages of
               mapped files (features, libraries), which it may drop at any time
    anon       the highest RssAnon seen (every 10 ms), what no file stands behind

The bound is on the peak, the larger of the two. Times are CPU seconds of one thread (--threads:
several burn time while they wait for each other), so that what else the machine does falls out
(not what it does to the caches), and ratios of draws are medians over rounds of the ratios within
a round. A share costs so little that with more samples reading the counts outweighs it: at 4,096
200 draws cost 43 differences. Memory is measured at 4,000 and 12,000 samples and drawn as a
line to 50,000, of one metric of each sort (--metrics says which), with a jackknife of 2 blocks
where each block costs decompositions; with --full all are measured at 50,000 (about an hour and a
half on two cores). --stop ends a stage after so many CPU seconds: what it held until then is shown
with a star, and passes no check. With --check the exit status is 1 where a bound is missed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

FASTER, EQUAL = 5.0, 1e-6  # theirs over ours; relative
DRAWS, PRICE = 200, 20.0  # the price of so many draws, in differences
NUM, DIM, GIB = 50_000, 2048, 4.0
ARMS, BLOCKS, CLUSTERS, CLASSES = 20, 20, 8, 10
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
    "cluster_recall",
    "class_shares",
    "cluster_shares",
)


def drawn(num: int, dim: int, seed: int, shift: float = 0.0):
    """Features as networks have them: none negative, clusters, a spectrum that decays."""
    import torch

    modes = torch.Generator().manual_seed(0)
    centres = torch.randn(CLUSTERS, 64, generator=modes)
    mixing = torch.randn(64, dim, generator=modes) / 8
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(num, 64, generator=rng) + centres[torch.arange(num) % CLUSTERS] + shift
    return (z @ mixing).add_(torch.randn(num, dim, generator=rng), alpha=0.3).relu_()


def timed(call):
    """CPU seconds of `call`, and what it returns."""
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def frechet(options) -> dict:
    """Seconds and values by number of samples."""
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    from routing.frechet import FrechetReference, frechet_distance
    from routing.intervals import jackknife_weights, seed_blocks

    def theirs(x, known):
        statistics = fid_features_to_statistics(x.double())
        return [fid_statistics_to_metric(statistics, known, False)["frechet_inception_distance"]]

    def ours(x, known, weights):
        return frechet_distance(x, known, weights).tolist()

    def exact(x, known):
        x = x.double()
        gap, x = x.mean(0) - known.mean, (x - x.mean(0)) / (len(x) - 1) ** 0.5
        root = torch.linalg.matrix_norm(x @ known.root, "nuc")
        parts = gap.square().sum() + x.square().sum() + known.root.square().sum()
        return [(parts - 2 * root).item()]

    y = drawn(options.reference, options.dim, 1)
    y_seconds, known = timed(lambda: FrechetReference.fit(y))
    y_theirs, statistics = timed(lambda: fid_features_to_statistics(y.double()))
    cases = {}
    for num in (options.samples, min(1000, options.dim // 2)):
        blocks = seed_blocks(num, next(b for b in range(BLOCKS, num) if num % b == 0))
        weights = jackknife_weights(blocks)
        case = {name: [] for name in ("value", "stage", "theirs", "left_out")}
        values = {name: [] for name in ("ours", "theirs", "exact")}
        for r in range(options.rounds):
            x = drawn(num, options.dim, 100 + r, 0.02 * r)
            kept = x[blocks != r % BLOCKS]
            runs = {
                "value": partial(ours, x, known, weights[:1]),
                "stage": partial(ours, x, known, weights),
                "theirs": partial(theirs, x, statistics),
                "left_out": partial(theirs, kept, statistics),
            }
            found = {}
            for name in sorted(runs, reverse=r % 2 == 1):
                seconds, found[name] = timed(runs[name])
                case[name].append(seconds)
            values["ours"] += [found["stage"][0], found["stage"][1 + r % BLOCKS], *found["value"]]
            values["theirs"] += found["theirs"] + found["left_out"] + found["theirs"]
            if num < options.dim:
                whole = exact(x, known)
                values["exact"] += whole + exact(kept, known) + whole
        cases[num] = {"seconds": case, "values": values, "sets": len(weights)}
    return {"fit": y_seconds, "fit_theirs": y_theirs, "cases": cases}


def bootstrap(options) -> dict:
    """Seconds of a difference and of its draws by metric."""
    import numpy as np
    import torch

    from routing.bootstrap import bootstrap_counts, bootstrap_difference
    from routing.measures import METRICS, Real, View
    from routing.measures.base import Pairs

    n, m, dim = options.samples, options.reference, options.dim
    y = drawn(m, dim, 1)
    clusters = torch.arange(m) % CLUSTERS
    real = Real(y, clusters, CLUSTERS, drawn(m // 5, dim, 2), lambda: iter(y.split(4096)))
    seconds, counts = timed(lambda: bootstrap_counts(n, DRAWS, np.random.default_rng(0)))
    found = {"metrics": ["counts"], "counts": {"one": [seconds], "many": [seconds]}}
    everyone = torch.ones(1, n, dtype=torch.float64)
    rng = torch.Generator().manual_seed(3)
    shares = torch.full((CLUSTERS,), 1 / CLUSTERS, dtype=torch.float64)

    def view(reference, seed: int) -> View:
        said = torch.randint(CLUSTERS, (2, n), generator=rng)
        none = torch.zeros(BLOCKS, BLOCKS)
        return View(
            features=drawn(n, dim, seed, 0.02),
            reference=reference,
            weights=everyone,
            named=str,
            order=torch.randperm(n, generator=rng),
            class_names=tuple(map(str, range(CLUSTERS))),
            class_shares=shares,
            cluster_shares=shares,
            classes=said[0],
            asked=said[1],
            clusters=said[0],
            point_clusters=clusters,
            logits=torch.randn(n, 1008, generator=rng),
            texts=torch.randn(n, dim, generator=rng),
            depicted=torch.randn(n, dim, generator=rng),
            pairs=Pairs("alex", none, none + 1, torch.rand(n, generator=rng), "other"),
        )

    for name, kind in METRICS.items():
        measure = kind()
        if not measure.resamples:
            continue
        reference = measure.fit(real)
        pair = [view(reference, seed) for seed in (4, 5)]

        def one(measure=measure, pair=pair):
            a, b = (measure.replicates(v) for v in pair)
            return {name: a[name] - b[name] for name in a}

        def many(measure=measure, pair=pair):
            value = one(measure, pair)
            a, b = (measure.bootstrap(v, counts) for v in pair)
            return [
                bootstrap_difference(
                    torch.cat([value[name], a[name]])[None],
                    torch.cat([0 * value[name], b[name]])[None],
                )
                for name in a
            ]

        one(), many()  # both are warm
        runs, times = {"one": one, "many": many}, {"one": [], "many": []}
        for r in range(options.rounds):
            for run in sorted(runs, reverse=r % 2 == 1):
                times[run].append(timed(runs[run])[0])
        found["metrics"].append(name)
        found[name] = times
    return found


def world(folder: Path, num: int) -> None:
    """The files that the stages read: `num` training images and as many samples of one arm."""
    import numpy as np
    import pandas as pd
    import torch

    from routing.job import Job

    def write(stage: str, name: str, content, **notes) -> None:
        with Job(stage, {}, {"made": folder / name}, {}) as job:
            if isinstance(content, pd.DataFrame):
                job.write_table("made", content, **notes)
            else:
                job.write_arrays("made", {k: np.asarray(v) for k, v in content.items()}, **notes)

    space = {"name": "inception", "maker": "inception", "weights": None, "resize": None}
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
        write("embed", f"real-{i}.safetensors", {"features": x, "logits": logits}, space=space)
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
    arm["asked"] = torch.arange(num)[:, None] % CLASSES
    write("features", "arm.safetensors", arm, space=space)


def stage(options) -> dict:
    """One stage with one metric: what it took."""
    import importlib

    from routing.job import Job

    folder, name, num = Path(options.folder), options.metric, options.samples
    real = sorted(folder.glob("real-*.safetensors"), key=lambda p: int(p.stem.split("-")[1]))
    made = folder / "made" / (options.key if options.stage == "references" else name)
    made.mkdir(parents=True, exist_ok=True)
    known = folder / "made" / options.key / "references.safetensors"
    entry = [{"name": name}] if name else []
    spec = {"seed": 0, "num_blocks": options.blocks, "list": entry}
    if options.stage == "references":
        spec |= {"space": "inception", "num_references": None, "num_samples": num}
        spec |= {"num_clusters": CLUSTERS}
        inputs = {"real": real, "assignments": [folder / "assignments.parquet"]}
        outputs = {n: made / f"{n}.safetensors" for n in ("references", "heldout")}
    else:
        spec |= {"arm": "arm", "spaces": ["inception"], "place": "inception", "phrases": []}
        spec |= {"num_trainings": 1, "extractor": "inception", "reference_arm": "arm"}
        spec |= {"lpips": None, "num_bootstrap": DRAWS, "searched": ["inception"]}
        inputs = {"features": [folder / "arm.safetensors"], "references": [known]}
        if name == "copies":
            inputs["real"] = real
        inputs["centroids"] = [folder / "centroids.safetensors"]
        outputs = {n: made / f"{n}.parquet" for n in ("replicates", "bootstrap", "scores")}
    inputs["index"] = [folder / "index.parquet"]
    module, cpu = importlib.import_module(f"routing.{options.stage}"), time.process_time()
    with Job(options.stage, inputs, outputs, spec) as job:
        module.run(job)
    return {"cpu_s": time.process_time() - cpu}


def child(part: str, options, **more) -> dict:
    """What `part` returns in a process of its own, and what memory that took."""
    words = {"rounds": options.rounds, "threads": options.threads} | more
    flags = [text for key, value in words.items() for text in (f"--{key}", str(value))]
    threads = {f"{name}_NUM_THREADS": str(options.threads) for name in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, __file__, "--child", part, *flags]
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
        raise SystemExit(f"{part} {more}: exit status {run.returncode}")
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


def show_frechet(options) -> bool:
    """Whether ours is as much faster as it must be, and equal."""
    sizes = {"samples": options.samples, "dim": options.dim, "reference": options.reference}
    found = child("frechet", options, **sizes)
    fit, fit_theirs = found["fit"], found["fit_theirs"]
    print(f"Frechet distance, {ARMS} arms, {options.dim} numbers, CPU seconds of one arm")
    print(f"reference of {options.reference}: {fit:.1f}, theirs {fit_theirs:.1f}")
    print(f"{'samples':>8}{'sets':>6}{'ours':>8}{'theirs':>8}{'ratio':>8}{'alone':>8}", end="")
    print(f"{'difference':>12}{'error':>10}")
    is_met = True
    for num, case in found["cases"].items():
        least, values = {k: min(v) for k, v in case["seconds"].items()}, case["values"]

        def apart(name, values=values):
            pairs = zip(values[name], values["ours"], strict=True)
            return max(abs(b / a - 1) for a, b in pairs)

        error = apart("exact" if values["exact"] else "theirs")
        for sets, name in ((1, "value"), (case["sets"], "stage")):
            ours, theirs = least[name], least["theirs"] + (sets - 1) * least["left_out"]
            whole = fit + ARMS * ours
            ratio = (fit_theirs + ARMS * theirs) / whole
            alone = ARMS * (sets * fit_theirs + theirs) / whole
            print(f"{num:>8}{sets:>6}{ours:>8.2f}{theirs:>8.2f}{ratio:>8.1f}{alone:>8.1f}", end="")
            print(f"{apart('theirs'):>12.1e}{error:>10.1e}")
        is_met &= ratio >= FASTER and error < EQUAL
    print(f"ratio {FASTER:.0f} at least, error {EQUAL:.0e} at most\n", flush=True)
    return is_met


def show_bootstrap(options) -> bool:
    """Whether no metric's draws cost more than they may."""
    found = child("bootstrap", options, samples=1024, dim=256, reference=2048)
    print(f"{DRAWS} paired draws of a difference, 1,024 samples of 256 numbers, CPU milliseconds")
    print(f"{'metric':<18}{'one':>9}{'draws':>9}{'ratio':>8}")
    worst = 0.0
    for name in found["metrics"]:
        times = found[name]
        one, many = (1000 * median(times[run]) for run in ("one", "many"))
        ratio = median(b / a for a, b in zip(times["one"], times["many"], strict=True))
        worst = max(worst, ratio)
        print(f"{name:<18}{one:>9.2f}{many:>9.2f}{ratio:>8.1f}")
    print(f"ratio {PRICE:.0f} at most\n", flush=True)
    return worst <= PRICE


def show_memory(options) -> bool:
    """Whether no stage holds more than it may."""
    from routing.measures import METRICS

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
                key = measure.key() if measure.reference else "none"
                blocks = BLOCKS if options.full else FEW_BLOCKS.get(name, BLOCKS)
                more = {"folder": folder, "samples": num, "key": key, "blocks": blocks}
                entry = {"metric": name if measure.reference else ""}
                if key not in fitted:
                    fitted[key] = child("stage", options, stage="references", **more, **entry)
                scored = {"peak": 0, "anon": 0, "cpu_s": 0.0, "is_stopped": True}
                if not fitted[key]["is_stopped"]:
                    scored = child("stage", options, stage="scores", metric=name, **more)
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
    parts = {"frechet": show_frechet, "bootstrap": show_bootstrap, "memory": show_memory}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--samples", type=int, default=4000, help="of an arm, part frechet")
    parser.add_argument("--reference", type=int, default=8192, help="part frechet")
    parser.add_argument("--dim", type=int, default=DIM, help="part frechet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--metrics", nargs="+", choices=READ, help="part memory")
    parser.add_argument("--full", action="store_true", help=f"memory at {NUM} samples")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="part memory")
    parser.add_argument("--stop", type=float, default=math.inf, metavar="CPU_S", help="of a child")
    parser.add_argument("--folder", help="where the files of part memory are put for a while")
    parser.add_argument("--check", action="store_true", help="fail where a bound is missed")
    for hidden in ("child", "stage", "metric", "key"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run = {"frechet": frechet, "bootstrap": bootstrap, "stage": stage}[options.child]
        print(json.dumps(run(options)))
        return 0
    print(f"{options.threads} thread(s), {options.rounds} rounds\n")
    is_met = [parts[part](options) for part in options.parts]
    return int(options.check and not all(is_met))


if __name__ == "__main__":
    sys.exit(main())
