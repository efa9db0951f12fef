"""What routing costs: K = 8 DiT experts, one evaluation of the ensemble, on a CPU.

    python benchmarks/ensemble.py [--check]

The price of asking k experts per sample should be that of k experts on the whole batch plus the
router: grouping samples by expert, the policy, the trace and the checks should cost next to
nothing, and an expert that is not asked should cost nothing at all.

    floor k     the router and k experts, each on the whole batch
    top k       RoutedField with the policy top_k: what a sampler calls
    masked k    the router and all K experts on the whole batch, weights 0 outside the top k

All run in turn, round after round; a ratio is the median over rounds of the ratios within a
round, so that what else the machine does falls on both sides. One thread by default: several
wait for each other at every small operation, and on a busy machine that waiting is what one would
measure. With --check the exit status is 1 if a ratio top / floor is above its bound.
"""

import argparse
import sys
import time
from statistics import median

import torch

from routing.ensemble.policies import TopK
from routing.ensemble.routed_field import RoutedField
from routing.ensemble.routers import LearnedRouter
from routing.networks.dit import Architecture, DiT

BOUND = 1.10  # top k over floor k
NUM_ASKED = (1, 2)


def networks(width: int, depth: int, num_experts: int) -> tuple[list[DiT], DiT]:
    """Experts for images of 8 x 8 and a router of half their width and depth."""
    size = {"image_size": 8, "channels": 1, "patch_size": 2, "num_heads": 4}
    experts = [DiT(Architecture(**size, width=width, depth=depth)) for _ in range(num_experts)]
    router = Architecture(**size, width=width // 2, depth=depth // 2, num_logits=num_experts)
    return experts, DiT(router)


def contestants(experts: list[DiT], router: DiT, batch: int) -> dict:
    """Functions without argument, each one evaluation of a velocity field."""
    num_experts = len(experts)
    x, t = torch.randn(batch, 1, 8, 8), torch.full((batch,), 0.5)
    u = torch.rand(batch, 1)
    # An untrained router holds all experts equal, and ties ask the first. Random logits spread
    # the samples over all of them; the router's own, which are 0, are computed and paid for.
    spread = torch.randn(batch, num_experts)
    network = LearnedRouter(lambda x, t: router(x, t) + spread)

    def floor(k):
        network.posterior(x, t, None)
        return sum(expert(x, t) for expert in experts[:k])

    def top(k):
        return RoutedField(experts, network, TopK(k), u)(x, t, 0)

    def masked(k):
        w, _ = TopK(k)(network.posterior(x, t, None), t, u[:, 0], None)
        v = torch.stack([expert(x, t) for expert in experts], dim=1)
        return (w[:, :, None, None, None] * v).sum(dim=1)

    runs = {}
    for k in NUM_ASKED:
        torch.testing.assert_close(top(k), masked(k))  # and all are warm
        for function in (floor, top, masked):
            runs[f"{function.__name__} {k}"] = lambda function=function, k=k: function(k)
    return runs


def measured(runs: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round."""
    seconds = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)
        shift = number % len(names)  # nobody always follows the same one
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help=f"fail above {BOUND:.2f}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    experts, router = networks(options.width, options.depth, options.experts)
    with torch.no_grad():
        seconds = measured(contestants(experts, router, options.batch), options.rounds)

    def ratio(above: str, below: str) -> float:
        pairs = zip(seconds[above], seconds[below], strict=True)
        return median(a / b for a, b in pairs)

    print(
        f"{options.experts} experts (DiT, width {options.width}, depth {options.depth}), "
        f"batch {options.batch}, {torch.get_num_threads()} threads, {options.rounds} rounds\n"
    )
    print(f"{'contestant':<12}{'median_ms':>12}")
    for name, values in seconds.items():
        print(f"{name:<12}{1000 * median(values):>12.1f}")
    print(f"\n{'ratio':<24}{'median':>8}  bound")
    is_met = True
    for k in NUM_ASKED:
        value = ratio(f"top {k}", f"floor {k}")
        is_met &= value <= BOUND
        print(f"{f'top {k} / floor {k}':<24}{value:>8.3f}  {BOUND:.2f}")
    for k in NUM_ASKED:
        print(f"{f'masked {k} / top {k}':<24}{ratio(f'masked {k}', f'top {k}'):>8.3f}")
    return int(options.check and not is_met)


if __name__ == "__main__":
    sys.exit(main())
