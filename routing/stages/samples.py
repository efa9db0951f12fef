"""Stage samples: one arm (partition x router x policy x sampler x guidance) draws its seeds.

Sample i starts from noise i, uses routing numbers i and is asked for prompt i in every arm and
after every training, so that arms are paired. Beside the samples go the routing trace (posterior
and weights at every call), the trajectories of the first seeds, and the bill: expert and router
evaluations, FLOPs and seconds.
"""

import time
from dataclasses import fields, is_dataclass

import numpy as np
import pandas as pd
import torch

from routing.ensemble.routed_field import RoutedField
from routing.flow.conditions import Condition, Told
from routing.loading.arms import Arm, assemble, bound, oracle_clusters
from routing.networks.dit import DiT, flop_per_sample
from routing.workflow import devices, seeds
from routing.workflow.progress import Progress

ROWS = ("samples", "weights", "posteriors")  # an entry for each seed


def run(job) -> None:
    """Write `samples`, `trace`, `trajectories` and `bill` for the seeds of one shard."""
    spec = job.spec

    def pilot(arm: Arm, numbers: np.ndarray, root: int) -> dict:
        return draw(arm, numbers, root, num_kept=0)

    arm = bound(assemble(job), job, pilot)
    arm.encode.evaluations = 0  # the pilot is not in the bill
    numbers = np.arange(spec["first_seed"], spec["first_seed"] + spec["num_seeds"])
    progress = Progress(f"arm {spec['arm_name']}", len(numbers))
    start = time.monotonic()
    parts = []
    for first in range(0, len(numbers), spec["batch_size"]):
        batch = numbers[first : first + spec["batch_size"]]
        parts.append(draw(arm, batch, spec["seed"], spec["num_trajectories"]))
        progress.advance(len(batch))
    seconds = time.monotonic() - start
    join = {name: np.concatenate([p[name] for p in parts]) for name in ROWS}
    notes = {"levels": arm.levels, "autoencoder": arm.autoencoder}
    drawn = {"samples": join["samples"], "seeds": numbers}
    for name in parts[0]["requested"]:
        drawn[name] = np.concatenate([p["requested"][name] for p in parts])
    job.write_arrays("samples", drawn, **notes)
    trace = {name: join[name] for name in ("weights", "posteriors")}
    job.write_arrays("trace", trace | {"seeds": numbers, "times": parts[0]["times"]})
    kept = numbers < spec["num_trajectories"]
    states = np.concatenate([p["states"] for p in parts])
    job.write_arrays("trajectories", {"states": states, "seeds": numbers[kept]}, **notes)
    table = cost_table(arm, parts, len(numbers), seconds)
    job.write_table("cost", table, policy=numbers_of(arm.policy))


@torch.no_grad()
def draw(arm: Arm, batch: np.ndarray, root: int, num_kept: int) -> dict:
    """Samples and traces of the seeds in `batch`; whole trajectories of those below `num_kept`."""
    numbers, kept = batch.tolist(), torch.from_numpy(batch < num_kept).to(arm.device)
    uniforms = torch.from_numpy(seeds.uniforms(root, "routing", numbers, arm.sampler.num_steps))
    condition, requested = arm.requested(root, numbers)

    def normals(name: str, *index: int) -> torch.Tensor:
        drawn = torch.from_numpy(seeds.normals(root, name, numbers, arm.shape, *index))
        return devices.moved(drawn.to(arm.dtype), arm.device)

    def make(told: Condition | None) -> RoutedField:
        """A branch."""
        return RoutedField(
            arm.experts,
            arm.router,
            arm.policy,
            uniforms.to(arm.device),
            cluster=oracle_clusters(arm, root, numbers),
            seeds=torch.from_numpy(batch),
            keep_states=bool(kept.any()),
            condition=told,
            directions=normals("divergence") if arm.router.reads == "divergences" else None,
        )

    field = arm.guidance.field(make, condition)
    noise = (lambda step: normals("sampler_noise", step)) if arm.sampler.is_stochastic else None
    x = arm.sampler(field, normals("noise"), noise=noise)
    states = [s[kept] for s in field.states] + [x[kept]]
    if not field.states:
        states = [x[kept]] * (arm.sampler.num_calls + 1)
    drawn = x.cpu()
    refuse_broken(drawn, batch)
    return {
        "samples": drawn.numpy(),
        "requested": requested,
        "num_tokens": 0
        if condition is None or condition.text is None
        else condition.text.shape[1],
        "times": torch.stack([t[0] for t in field.times]).cpu().numpy(),
        "weights": torch.stack(field.weights, 1).float().cpu().numpy(),
        "posteriors": torch.stack(field.posteriors, 1).float().cpu().numpy(),
        "states": torch.stack(states, 1).cpu().numpy(),
        "experts": field.expert_evaluations.cpu().numpy(),
        "router": int(field.router_evaluations),
    }


def numbers_of(policy: object) -> dict:
    """The policy that spoke, with the numbers that were found for it."""
    options = {field.name: getattr(policy, field.name) for field in fields(policy)}
    parts = {n: numbers_of(v) if is_dataclass(v) else v for n, v in options.items()}
    shown = {n: v for n, v in parts.items() if not isinstance(v, torch.Tensor)}
    return {"policy": type(policy).__name__} | shown


def refuse_broken(x: torch.Tensor, batch: np.ndarray) -> None:
    """Raise ValueError naming the seeds whose finished samples are NaN or Inf."""
    broken = batch[~x.isfinite().flatten(1).all(1).numpy()]
    if len(broken):
        raise ValueError(
            f"wanted finite samples, got nan or inf after the last step in {len(broken)} samples "
            f"(seeds {', '.join(map(str, broken[:5]))}); take smaller steps or look at the experts"
        )


def cost_table(arm: Arm, parts: list[dict], num: int, seconds: float) -> pd.DataFrame:
    """Evaluations and FLOPs per sample of each expert and the router; the total's wall seconds.

    A closed form has no network and is billed 0 FLOP; its evaluations count. A text costs what
    its longest batch does. A router by distance pays for the network that embeds what it compares.
    """
    tokens = max(p["num_tokens"] for p in parts)
    evaluations = np.sum([p["experts"] for p in parts], axis=0) / num
    rows = [("expert", k, n, n * flop(arm.experts[k], tokens)) for k, n in enumerate(evaluations)]
    requested = sum(p["router"] for p in parts) / num
    spent = requested * flop(getattr(arm.router, "net", None), tokens) + arm.encode.flop / num
    rows.append(("router", 0, requested + arm.encode.evaluations / num, spent))
    rows.append(("total", 0, evaluations.sum(), sum(row[3] for row in rows)))
    table = pd.DataFrame(rows, columns=["component", "expert_index", "evaluations", "flop"])
    return table.assign(seconds=np.where(table["component"] == "total", seconds, np.nan))


def flop(net: object, num_tokens: int = 0) -> float:
    """FLOPs of one evaluation of a network for one sample; 0 where there is no network."""
    net = net.net if isinstance(net, Told) else net
    if not isinstance(net, DiT):
        return 0.0
    has_text = net.architecture.text_dim is not None
    return float(flop_per_sample(net, max(1, num_tokens) if has_text else 0))
