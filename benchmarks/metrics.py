"""What the metrics cost: the Frechet distances of many arms, and many draws of a bootstrap.

    python benchmarks/metrics.py [--check] [--parts frechet bootstrap] [--threads 1]

    frechet    20 arms against one reference of 50,000, 2,048 numbers. `stage`: what the pipeline
               does for an arm, its distance and 20 more with a block of seeds left out each, in
               one call of frechet_distance. `value`: the distance alone. Our fit of the reference
               is in all ratios, once. Theirs: torch-fidelity's functions on the same features,
               fid_features_to_statistics of both sets and fid_statistics_to_metric; in `kept`
               with the statistics of the reference once. A call of theirs takes seconds, the same
               for all sets of a size: 20 arms are the quickest of --rounds calls times 20, and 21
               for `stage`; of ours the quickest of as many, in turn. With more samples than
               dimensions both must agree; with fewer, the product of the covariances is singular:
               there ours is held against singular values, and what theirs differs by is shown.
               The bound is on the ratio of both, and on `kept` of the stage. Where theirs keep
               the statistics and n > d, a value alone is 2.6 times faster: the eigenvalues are a
               third of ours.
    bootstrap  every metric that resamples: the difference of two arms once, and 200 paired draws
               of it with their interval; the counts are drawn once for all arms and metrics, and
               have a row of their own. A share costs so little that with many more samples
               reading the counts outweighs it: at 50,000 they are 80 MB, and 200 draws of a share
               cost some 70 differences, 40 ms.

Times are CPU seconds of one thread (--threads: several burn time while they wait for each other),
so that what else the machine does falls out (not what it does to the caches), and ratios of draws
are medians over rounds of the ratios within a round. With --check the exit status is 1 where a
bound is missed. Memory is in benchmarks/memory.py.
"""

import argparse
import os
import sys
import time
from functools import partial
from statistics import median

FASTER, EQUAL = 5.0, 1e-6  # theirs over ours; relative
DRAWS, PRICE = 200, 20.0  # the price of so many draws, in differences
ARMS, BLOCKS, CLUSTERS = 20, 20, 8


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

    from routing.metrics.formulas.frechet_distance import FrechetReference, frechet_distance
    from routing.statistics.jackknife import jackknife_weights, seed_blocks

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


def arm(reference, features, point_clusters, rng):
    """One arm as a metric sees it, whatever the metric looks at."""
    import torch

    from routing.metrics.protocol import LPIPSDistances
    from routing.metrics.registry import ArmSamples

    n, dim = features.shape
    said = torch.randint(CLUSTERS, (2, n), generator=rng)
    none = torch.zeros(BLOCKS, BLOCKS)
    shares = torch.full((CLUSTERS,), 1 / CLUSTERS, dtype=torch.float64)
    return ArmSamples(
        features=features,
        reference=reference,
        weights=torch.ones(1, n, dtype=torch.float64),
        metric_name=str,
        order=torch.randperm(n, generator=rng),
        class_names=tuple(map(str, range(CLUSTERS))),
        class_shares=shares,
        cluster_shares=shares,
        predicted_classes=said[0],
        requested_classes=said[1],
        clusters=said[0],
        point_clusters=point_clusters,
        inception_logits=torch.randn(n, 1008, generator=rng),
        caption_features=torch.randn(n, dim, generator=rng),
        prefixed_caption_features=torch.randn(n, dim, generator=rng),
        lpips=LPIPSDistances("alex", none, none + 1, torch.rand(n, generator=rng), "other", "all"),
    )


def bootstrap(options) -> dict:
    """Seconds of a difference and of its draws by metric."""
    import numpy as np
    import torch

    from routing.metrics.registry import METRICS, ReferenceSamples
    from routing.statistics.bootstrap import bootstrap_counts, bootstrap_difference

    n, m, dim = 4096, 2048, 256
    y = drawn(m, dim, 1)
    clusters = torch.arange(m) % CLUSTERS
    real = ReferenceSamples(
        y, clusters, CLUSTERS, drawn(m // 5, dim, 2), lambda: iter(y.split(4096))
    )
    seconds, counts = timed(lambda: bootstrap_counts(n, DRAWS, np.random.default_rng(0)))
    found = {"metrics": ["counts"], "counts": {"one": [seconds], "many": [seconds]}}
    rng = torch.Generator().manual_seed(3)

    for name, kind in METRICS.items():
        measure = kind()
        if not measure.supports_bootstrap:
            continue
        reference = measure.fit(real)
        pair = [arm(reference, drawn(n, dim, seed, 0.02), clusters, rng) for seed in (4, 5)]

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


def show_frechet(options) -> bool:
    """Whether ours is as much faster as it must be, and equal."""
    found = frechet(options)
    fit, fit_theirs = found["fit"], found["fit_theirs"]
    print(f"Frechet distance, {ARMS} arms, {options.dim} numbers, CPU seconds of one arm")
    print(f"reference of {options.reference}: {fit:.1f}, theirs {fit_theirs:.1f}")
    print(f"{'samples':>8}{'sets':>6}{'ours':>8}{'theirs':>8}{'ratio':>8}{'kept':>8}", end="")
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
            kept = (fit_theirs + ARMS * theirs) / whole
            theirs += sets * fit_theirs
            ratio = ARMS * theirs / whole
            print(f"{num:>8}{sets:>6}{ours:>8.2f}{theirs:>8.2f}{ratio:>8.1f}{kept:>8.1f}", end="")
            print(f"{apart('theirs'):>12.1e}{error:>10.1e}")
            is_met &= ratio >= FASTER and error < EQUAL
        is_met &= kept >= FASTER  # of the stage
    print(f"ratio {FASTER:.0f} at least, error {EQUAL:.0e} at most\n", flush=True)
    return is_met


def show_bootstrap(options) -> bool:
    """Whether no metric's draws cost more than they may."""
    found = bootstrap(options)
    print(f"{DRAWS} paired draws of a difference, 4,096 samples of 256 numbers, CPU milliseconds")
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"frechet": show_frechet, "bootstrap": show_bootstrap}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--samples", type=int, default=4000, help="of an arm, part frechet")
    parser.add_argument("--reference", type=int, default=50_000, help="part frechet")
    parser.add_argument("--dim", type=int, default=2048, help="part frechet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help="fail where a bound is missed")
    options = parser.parse_args()
    # Before anything that reads them is imported.
    os.environ |= {
        f"{name}_NUM_THREADS": str(options.threads) for name in ("OMP", "OPENBLAS", "MKL")
    }
    print(f"{options.threads} thread(s), {options.rounds} rounds\n")
    is_met = [parts[part](options) for part in options.parts]
    return int(options.check and not all(is_met))


if __name__ == "__main__":
    sys.exit(main())
