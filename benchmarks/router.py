"""What a router costs to train: from the probe, against the experts in the loop, on a CPU.

    python benchmarks/router.py [--check]

The objective `velocity` needs the Gram matrix of the experts' errors at every state of a batch.
In the loop, all K experts are asked at every step; from the probe, the matrix is looked up. Both
train the same network, by the same loss and from batches of one size; the experts are those of
the digits study.

    probe      one training step on stored states
    loop       one training step that asks the experts on fresh states

Both run in turn, round after round; the factor is the median over rounds of the ratios within a
round, so that what else the machine does falls on both sides. `asked` is how often experts are
asked for one state; what the probe asked once, before all routers, is the first line. With
--check the exit status is 1 if the factor is below its bound.
"""

import argparse
import sys
import time
from statistics import median

import torch

from routing.ensemble.gram_matrix import gram
from routing.ensemble.objectives import OBJECTIVES, Batch
from routing.flow.paths import add_noise, velocity
from routing.networks.dit import Architecture, DiT

BOUND = 2.0  # loop over probe
SIZE = {"image_size": 8, "channels": 1, "patch_size": 2, "num_heads": 4, "width": 64}


def networks(num_experts: int) -> tuple[list[DiT], DiT]:
    """Experts and router of experiments/routers.yaml, untrained: a step costs the same."""
    expert = Architecture(**SIZE, depth=3, modulation="adaln_single")
    experts = [DiT(expert).eval().requires_grad_(False) for _ in range(num_experts)]
    return experts, DiT(Architecture(**SIZE, depth=2, num_logits=num_experts))


@torch.no_grad()
def requested(experts: list[DiT], x: torch.Tensor, t: torch.Tensor, target: torch.Tensor):
    """The Gram matrices of the experts' errors."""
    return gram(torch.stack([expert(x, t) for expert in experts]), target)


def contestants(experts: list[DiT], router: DiT, batch_size: int, num_states: int) -> dict:
    """Functions without argument, each one step of training the router."""
    x0, eps = torch.randn(2, num_states, 1, 8, 8)
    t = torch.rand(num_states)
    x, target = add_noise(x0, eps, t), velocity(x0, eps)
    stored = requested(experts, x, t, target)
    optimiser = torch.optim.AdamW(router.parameters(), lr=1e-3)
    objective = OBJECTIVES["velocity"]()
    none = torch.zeros(batch_size, dtype=torch.long)
    rest = {"distances": torch.zeros(batch_size, len(experts)), "prior": torch.ones(len(experts))}

    def step(x, t, G):
        batch = Batch(x, t, none, uniforms=torch.zeros(batch_size), gram=G, **rest)
        optimiser.zero_grad(set_to_none=True)
        objective(router, batch).backward()
        optimiser.step()

    def probe():
        rows = torch.randint(num_states, (batch_size,))
        step(x[rows], t[rows], stored[rows])

    def loop():
        rows = torch.randint(num_states, (batch_size,))
        times, noise = torch.rand(batch_size), torch.randn(batch_size, 1, 8, 8)
        fresh = add_noise(x0[rows], noise, times)
        step(fresh, times, requested(experts, fresh, times, velocity(x0[rows], noise)))

    for function in (probe, loop):
        function()  # both are warm
    return {"probe": probe, "loop": loop}


def measured(runs: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each round; they take turns to be first."""
    seconds = {name: [] for name in runs}
    for number in range(rounds):
        for name in sorted(runs, reverse=number % 2 == 1):
            start = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experts", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--states", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=500, help="of one training, for the totals")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--check", action="store_true", help=f"fail below {BOUND:.1f}")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    experts, router = networks(options.experts)
    start = time.perf_counter()
    runs = contestants(experts, router, options.batch, options.states)
    once = time.perf_counter() - start
    seconds = measured(runs, options.rounds)
    pairs = zip(seconds["loop"], seconds["probe"], strict=True)
    factor = median(loop / probe for loop, probe in pairs)
    print(
        f"{options.experts} experts and a router (DiT, width 64), batch {options.batch}, "
        f"{torch.get_num_threads()} threads, {options.rounds} rounds\n"
        f"asking all experts once on {options.states} states: {once:.1f} s\n"
    )
    print(f"{'contestant':<12}{'median_ms':>12}{'asked':>8}{f's per {options.steps}':>12}")
    for name, values in seconds.items():
        num = 0 if name == "probe" else options.experts
        total = options.steps * median(values)
        print(f"{name:<12}{1000 * median(values):>12.1f}{num:>8}{total:>12.1f}")
    print(f"\nloop / probe  {factor:.2f}  (bound {BOUND:.1f})")
    return int(options.check and factor < BOUND)


if __name__ == "__main__":
    sys.exit(main())
