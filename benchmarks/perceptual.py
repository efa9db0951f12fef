"""All pairs of a set of images by one Gram matrix, against the pair calls of the package lpips.

    python benchmarks/perceptual.py [--check]

Both embed with the same drawn trunk in one process on the same threads, and take turns, round
after round. The package is asked in batches for --pairs random pairs, and what all n (n - 1) / 2
would take is that time scaled up: a call costs two passes of the trunk for each pair, whichever
pair it is. The factor is the median over rounds. With --check the exit status is 1 if a factor is
below the bound, or the distances differ by more than 1e-6.
"""

import argparse
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
import torch

from routing.metrics.formulas.lpips_distance import pairwise_distances
from routing.pretrained.lpips_networks import NETS, LPIPSNetwork

BOUND = 20.0  # times faster
BATCH = 25  # pairs in a call of the package, images in one of ours


def drawn(name: str, folder: Path) -> tuple[LPIPSNetwork, torch.nn.Module]:
    """Our network and the package's with the same random trunk."""
    import lpips

    theirs = lpips.LPIPS(net=name, pnet_rand=True, verbose=False)
    state = {f"features.{n.split('.', 1)[1]}": p for n, p in theirs.net.state_dict().items()}
    path = folder / f"{name}.pth"
    torch.save(state, path)
    net = LPIPSNetwork.load(name, str(path))
    return net, theirs.to(net.device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--pairs", type=int, default=100, help="pairs asked of the package")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help=f"fail below {BOUND:.0f}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    x = 2 * torch.rand(options.images, 3, options.pixels, options.pixels) - 1
    everyone = np.array(list(combinations(range(len(x)), 2)))
    some = np.random.default_rng(0).permutation(everyone)[: options.pairs]
    factors, errors = [], []
    print(f"{len(x)} images of {options.pixels} px, {options.threads} threads\n")
    print(f"{'net':<6}{'gram_s':>9}{'pairs_s':>10}{'factor':>8}{'error':>10}")
    for name in NETS:
        with tempfile.TemporaryDirectory() as folder:
            net, theirs = drawn(name, Path(folder))

        def gram(net=net):
            return pairwise_distances(torch.cat([net(batch).cpu() for batch in x.split(BATCH)]))

        def pairs(theirs=theirs, device=net.device):
            with torch.no_grad():
                parts = np.array_split(some, max(1, len(some) // BATCH))
                found = [theirs(x[p[:, 0]].to(device), x[p[:, 1]].to(device)) for p in parts]
            return torch.cat(found).flatten().cpu()

        runs, seconds = {"gram": gram, "pairs": pairs}, {"gram": [], "pairs": []}
        answers = {run: call() for run, call in runs.items()}  # and both are warm
        errors.append((answers["gram"][some[:, 0], some[:, 1]] - answers["pairs"]).abs().max())
        for number in range(options.rounds):
            for run in sorted(runs, reverse=number % 2 == 1):
                start = time.perf_counter()
                runs[run]()
                seconds[run].append(time.perf_counter() - start)
        whole = [s * len(everyone) / len(some) for s in seconds["pairs"]]
        factors.append(median(b / a for a, b in zip(seconds["gram"], whole, strict=True)))
        print(
            f"{name:<6}{median(seconds['gram']):>9.3f}{median(whole):>10.2f}{factors[-1]:>8.1f}"
            f"{errors[-1]:>10.1e}",
            flush=True,
        )
    print(f"\nfactor  {min(factors):.1f} at least  (bound {BOUND:.0f})")
    return int(options.check and not (min(factors) >= BOUND and max(errors) < 1e-6))


if __name__ == "__main__":
    sys.exit(main())
