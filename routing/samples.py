"""Stage samples: one arm (partition x router x policy x sampler) draws its share of the seeds.

Sample i starts from noise i and uses routing numbers i in every arm, so that arms are paired.
Beside the samples go the routing trace (posterior and weights at every call), the trajectories
of the first seeds, and the bill: expert and router evaluations, FLOPs and seconds.
"""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from routing import choices, encoders, models, seeds
from routing.dit import DiT, flop_per_sample
from routing.ensemble import RoutedField
from routing.oracle import Mixture
from routing.policies import POLICIES
from routing.progress import Progress
from routing.routers import ROUTERS, Materials, Network, Router
from routing.samplers import SAMPLERS, Sampler


@dataclass(frozen=True)
class Arm:
    """Everything that draws samples: loaded experts, router, policy, sampler."""

    experts: list
    router: Router
    policy: object
    sampler: Sampler
    shape: tuple[int, ...]
    levels: int | None
    prior: np.ndarray
    dtype: torch.dtype


def run(job) -> None:
    """Write `samples`, `trace`, `trajectories` and `bill` for the seeds of one shard."""
    arm, spec = assemble(job), job.spec
    numbers = np.arange(spec["first_seed"], spec["first_seed"] + spec["num_seeds"])
    progress = Progress(f"arm {spec['arm_name']}", len(numbers))
    start = time.monotonic()
    parts = []
    for first in range(0, len(numbers), spec["batch_size"]):
        batch = numbers[first : first + spec["batch_size"]]
        parts.append(draw(arm, batch, spec))
        progress.advance(len(batch))
    seconds = time.monotonic() - start
    join = {name: np.concatenate([p[name] for p in parts]) for name in ROWS}
    notes = {"levels": arm.levels}
    job.write_arrays("samples", {"samples": join["samples"], "seeds": numbers}, **notes)
    trace = {name: join[name] for name in ("weights", "posteriors")}
    job.write_arrays("trace", trace | {"seeds": numbers, "times": parts[0]["times"]})
    kept = numbers < spec["num_trajectories"]
    states = np.concatenate([p["states"] for p in parts])
    job.write_arrays("trajectories", {"states": states, "seeds": numbers[kept]}, **notes)
    job.write_table("bill", bill(arm, parts, len(numbers), seconds))


ROWS = ("samples", "weights", "posteriors")


def assemble(job) -> Arm:
    """Load the arm's experts, router, policy and sampler from the job's inputs."""
    spec = job.spec
    policy = choices.build(choices.rows("policies", POLICIES), spec["policy"], "policies")
    sampler = choices.build(choices.rows("samplers", SAMPLERS), spec["sampler"], "samplers")
    loaded = [job.arrays("experts", k) for k in range(job.count("experts"))]
    notes = [job.notes("experts", k) for k in range(job.count("experts"))]
    experts = [models.load(a, n) for a, n in zip(loaded, notes, strict=True)]
    division = job.arrays("centroids")
    prior = division["sizes"] / division["sizes"].sum()
    shape = sample_shape(experts[0])
    materials = Materials(
        prior=torch.from_numpy(prior),
        centroids=torch.from_numpy(division["centroids"]),
        encode=torch_encoder(job.arrays("encoder")),
        **exact_materials(loaded, notes),
    )
    router = make_router(job, materials)
    levels, dtype = notes[0].get("levels"), torch.float32
    if isinstance(experts[0], Mixture):
        experts, dtype = [world.velocity for world in experts], torch.float64
    return Arm(experts, router, policy, sampler, shape, levels, prior, dtype)


def make_router(job, materials: Materials) -> Router:
    """The arm's router: a learned one from its weights, else bound to the `materials`."""
    if job.count("router"):
        return Network(models.load(job.arrays("router"), job.notes("router")))
    table = choices.rows("routers", ROUTERS)
    return choices.build(table, job.spec["router"], "routers").bind(materials)


def exact_materials(loaded: list[dict], notes: list[dict]) -> dict:
    """The whole world of closed-form experts, and which expert owns each component."""
    if any(n["model"]["name"] != "mixture" for n in notes):
        return {}
    whole = {key: np.concatenate([a[key] for a in loaded]) for key in loaded[0]}
    owner = np.repeat(np.arange(len(loaded)), [len(a["weights"]) for a in loaded])
    return {"mixture": models.mixture(whole), "cluster_of_component": torch.from_numpy(owner)}


def torch_encoder(arrays: dict[str, np.ndarray]):
    """`encoders.encode` for tensors."""
    return lambda x: torch.from_numpy(encoders.encode(arrays, x.numpy()))


def sample_shape(expert: DiT | Mixture) -> tuple[int, ...]:
    """Shape of one sample of this expert."""
    if isinstance(expert, Mixture):
        return (expert.means.shape[1],)
    a = expert.architecture
    return (a.channels, a.image_size, a.image_size)


@torch.no_grad()
def draw(arm: Arm, batch: np.ndarray, spec: dict) -> dict:
    """Samples and traces of the seeds in `batch`."""
    root, numbers = spec["seed"], batch.tolist()
    noise = torch.from_numpy(seeds.normals(root, "noise", numbers, arm.shape)).to(arm.dtype)
    uniforms = seeds.uniforms(root, "routing", numbers, arm.sampler.num_steps)
    label = seeds.uniforms(root, "oracle_label", numbers, 1)[:, 0]
    cluster = np.searchsorted(np.cumsum(arm.prior)[:-1], label, side="right")
    field = RoutedField(
        arm.experts,
        arm.router,
        arm.policy,
        torch.from_numpy(uniforms),
        cluster=torch.from_numpy(cluster),
        seeds=torch.from_numpy(batch),
        keep_states=bool((batch < spec["num_trajectories"]).any()),
    )
    x = arm.sampler(field, noise)
    refuse_broken(x, batch)
    kept = torch.from_numpy(batch < spec["num_trajectories"])
    states = [s[kept] for s in field.states] + [x[kept]]
    if not field.states:
        states = [x[kept]] * (arm.sampler.num_calls + 1)
    return {
        "samples": x.numpy(),
        "times": torch.stack([t[0] for t in field.times]).numpy(),
        "weights": torch.stack(field.weights, 1).float().numpy(),
        "posteriors": torch.stack(field.posteriors, 1).float().numpy(),
        "states": torch.stack(states, 1).numpy(),
        "experts": field.expert_evaluations.numpy(),
        "router": int(field.router_evaluations),
    }


def refuse_broken(x: torch.Tensor, batch: np.ndarray) -> None:
    """Raise ValueError naming the seeds whose finished samples are NaN or Inf."""
    broken = batch[~x.isfinite().flatten(1).all(1).numpy()]
    if len(broken):
        raise ValueError(
            f"wanted finite samples, got nan or inf after the last step in {len(broken)} samples "
            f"(seeds {', '.join(map(str, broken[:5]))}); take smaller steps or look at the experts"
        )


def bill(arm: Arm, parts: list[dict], num: int, seconds: float) -> pd.DataFrame:
    """Evaluations and FLOPs per sample of each expert and the router; the total's wall seconds.

    A closed form has no network and is billed 0 FLOP; its evaluations count.
    """
    evaluations = np.sum([p["experts"] for p in parts], axis=0) / num
    rows = [("expert", k, n, n * flop(arm.experts[k])) for k, n in enumerate(evaluations)]
    asked = sum(p["router"] for p in parts) / num
    rows.append(("router", 0, asked, asked * flop(getattr(arm.router, "net", None))))
    rows.append(("total", 0, evaluations.sum(), sum(row[3] for row in rows)))
    table = pd.DataFrame(rows, columns=["part", "number", "evaluations", "flop"])
    return table.assign(seconds=np.where(table["part"] == "total", seconds, np.nan))


def flop(net: object) -> float:
    """FLOPs of one evaluation of a network for one sample; 0 where there is no network."""
    return float(flop_per_sample(net)) if isinstance(net, DiT) else 0.0
