"""What precision, recall, density and coverage cost, beside the plain way and torch-fidelity.

    python benchmarks/neighbours.py [--check]

    ours        routing.metrics.formulas.precision_recall: matrix products, and differences where
    these do not decide
    plain       every distance from differences, every replicate compared with every distance:
                the same numbers, which is checked, bit for bit
    fidelity    torch-fidelity's precision and recall: one replicate, no density, no coverage;
                timed with its reference, which it computes anew for every arm

The fit is that of the reference, once per feature space; the arm is one set of samples with the
replicates of a jackknife. All run in turn, round after round; a ratio is the median over rounds of
the ratios within a round. One thread by default. With --check the exit status is 1 if a ratio
plain / ours is below its bound. --memory N does one arm of N samples and N reference points of
2,048 numbers instead and prints the peak.
"""

import argparse
import resource
import sys
import time
from statistics import median

import torch
from torch_fidelity.metric_prc import prc_features_to_metric

from routing.metrics.formulas.pairwise_distances import distances
from routing.metrics.formulas.precision_recall import NeighbourReference, neighbour_metrics
from routing.statistics.jackknife import jackknife_weights, seed_blocks

BOUNDS = {"fit": 1.5, "arm": 2.0}  # plain over ours
KS = (3, 5)
BLOCK = 512


def plain_radii(x: torch.Tensor, kept: torch.Tensor, ks: tuple[int, ...]) -> torch.Tensor:
    """[ks, replicates, samples]: one long list of the nearest for all replicates."""
    num_near = min(max(ks) + int((~kept).sum(dim=1).max()), len(x) - 1)
    radius = x.new_empty(len(ks), *kept.shape)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        d = distances(x[rows], x)
        d.diagonal(offset=start).fill_(torch.inf)
        near, index = d.topk(num_near, largest=False, sorted=False)
        for r, kept_r in enumerate(kept):
            left = near.masked_fill(~kept_r[index], torch.inf)
            for j, k in enumerate(ks):
                radius[j, r, rows] = left.kthvalue(k).values
    return radius.masked_fill(~kept, -torch.inf)


def plain_fit(y: torch.Tensor) -> NeighbourReference:
    everyone = torch.ones(1, len(y), dtype=torch.bool)
    return NeighbourReference(y, *plain_radii(y.double(), everyone, KS)[:, 0], *KS)


def plain_arm(x: torch.Tensor, reference: NeighbourReference, w: torch.Tensor) -> dict:
    x, y, kept = x.double(), reference.points.double(), w > 0
    radius = plain_radii(x, kept, KS[:1])[0]
    precise, balls = x.new_empty(len(x)), x.new_empty(len(x))
    recalled = kept.new_zeros(len(w), len(y))
    covered = kept.new_zeros(len(w), len(y))
    for start in range(0, len(x), BLOCK):
        rows = slice(start, start + BLOCK)
        d = distances(x[rows], y)
        precise[rows] = (d <= reference.precision_radius).any(dim=1).double()
        inside = d <= reference.density_radius
        balls[rows] = inside.sum(dim=1).double()
        covered |= kept[:, rows].float() @ inside.float() > 0
        for r, s in enumerate(radius[:, rows]):
            recalled[r] |= (d <= s[:, None]).any(dim=0)
    n = w.sum(dim=1)
    return {
        "precision": w @ precise / n,
        "recall": recalled.double().mean(dim=1),
        "density": w @ balls / (n * KS[1]),
        "coverage": covered.double().mean(dim=1),
    }


def fidelity(x: torch.Tensor, y: torch.Tensor) -> dict:
    return prc_features_to_metric(
        x, y, prc_neighborhood=KS[0], prc_batch_size=BLOCK, save_cpu_ram=True, verbose=False
    )


def measured(runs: dict, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each contestant in each round: others use the machine too."""
    seconds = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.process_time()
            runs[name]()
            seconds[name].append(time.process_time() - start)
    return seconds


def memory(num: int) -> None:
    """One arm in the largest space, and what the process held at most."""
    x, y = torch.randn(num, 2048), torch.randn(num, 2048)
    start = time.perf_counter()
    reference = NeighbourReference.fit(y, *KS)
    middle = time.perf_counter()
    neighbour_metrics(x, reference, jackknife_weights(seed_blocks(num, 20)))
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{num} x {num} x 2048: fit {middle - start:.0f} s, arm {end - middle:.0f} s")
    print(f"peak {peak:.2f} GiB, the inputs {(x.nbytes + y.nbytes) / 2**30:.2f} GiB of them")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--reference", type=int, default=6000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=16, help="of the jackknife")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", type=int, metavar="N")
    parser.add_argument("--check", action="store_true", help=f"fail below {BOUNDS}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.memory:
        memory(options.memory)
        return 0
    x, y = torch.randn(options.samples, options.dim), torch.randn(options.reference, options.dim)
    w = jackknife_weights(seed_blocks(options.samples, options.blocks))
    reference, theirs = NeighbourReference.fit(y, *KS), plain_fit(y)
    assert torch.equal(reference.precision_radius, theirs.precision_radius)
    assert torch.equal(reference.density_radius, theirs.density_radius)
    ours, theirs = neighbour_metrics(x, reference, w), plain_arm(x, reference, w)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    seconds = measured(
        {
            "fit ours": lambda: NeighbourReference.fit(y, *KS),
            "fit plain": lambda: plain_fit(y),
            "arm ours": lambda: neighbour_metrics(x, reference, w),
            "arm plain": lambda: plain_arm(x, reference, w),
            "fidelity": lambda: fidelity(x, y),
        },
        options.rounds,
    )
    print(
        f"{options.samples} samples, {options.reference} reference points, {options.dim} numbers, "
        f"{len(w)} replicates, {options.threads} threads, {options.rounds} rounds\n"
    )
    print(f"{'contestant':<12}{'median_ms':>12}")
    for name, values in seconds.items():
        print(f"{name:<12}{1000 * median(values):>12.1f}")

    def ratio(above: str, *below: str) -> float:
        sums = map(sum, zip(*(seconds[name] for name in below), strict=True))
        return median(a / b for a, b in zip(seconds[above], sums, strict=True))

    print(f"\n{'ratio':<28}{'median':>8}  bound")
    is_met = True
    for name, bound in BOUNDS.items():
        value = ratio(f"{name} plain", f"{name} ours")
        is_met &= value >= bound
        print(f"{f'{name} plain / ours':<28}{value:>8.2f}  {bound:.2f}")
    print(f"{'fidelity / fit and arm ours':<28}{ratio('fidelity', 'fit ours', 'arm ours'):>8.2f}")
    return int(options.check and not is_met)


if __name__ == "__main__":
    sys.exit(main())
