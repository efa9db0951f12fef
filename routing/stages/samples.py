"""Stage samples: draw samples from one arm.

An arm is partition x router x policy x sampler x guidance. Sample i has seed i: it starts from
noise i, uses routing numbers i and has prompt i in every arm and for every training seed, so that
arms are paired. Beside the samples, the stage writes the routing trace (posterior and weights at
every call), the trajectories of the first seeds, and the cost: evaluations of experts and router,
FLOPs and seconds.
"""

import time
from dataclasses import fields, is_dataclass

import numpy as np
import torch

from routing.ensemble.routed_field import RoutedField
from routing.flow.conditions import Condition
from routing.loading.arms import Arm, load_arm, oracle_clusters
from routing.loading.policy_calibration import calibrate_policy
from routing.loading.sampling_cost import cost_table
from routing.workflow import devices, seeds
from routing.workflow.progress import progress_bar

PER_SEED = ("samples", "weights", "posteriors")  # arrays with one row per seed


def run(job) -> None:
    """Write `samples`, `trace`, `trajectories` and `cost` of the seeds of one shard."""
    spec = job.spec

    def sample_pilot(arm: Arm, numbers: np.ndarray, root: int) -> dict:
        return sample_batch(arm, numbers, root, num_kept=0)

    arm = calibrate_policy(job, load_arm(job), sample_pilot)
    arm.encoder.evaluations = 0  # the pilot run is not part of the cost
    numbers = np.arange(spec["first_seed"], spec["first_seed"] + spec["num_seeds"])
    progress = progress_bar(f"arm {spec['arm_name']}", len(numbers))
    start = time.monotonic()
    batches = []
    for first in range(0, len(numbers), spec["batch_size"]):
        batch = numbers[first : first + spec["batch_size"]]
        batches.append(sample_batch(arm, batch, spec["seed"], spec["num_trajectories"]))
        progress.update(len(batch))
    seconds = time.monotonic() - start
    joined = {name: np.concatenate([b[name] for b in batches]) for name in PER_SEED}
    metadata = {"levels": arm.levels, "autoencoder": arm.autoencoder}
    samples = {"samples": joined["samples"], "seeds": numbers}
    for name in batches[0]["requested"]:
        samples[name] = np.concatenate([b["requested"][name] for b in batches])
    job.write_arrays("samples", samples, **metadata)
    trace = {name: joined[name] for name in ("weights", "posteriors")}
    job.write_arrays("trace", trace | {"seeds": numbers, "times": batches[0]["times"]})
    kept = numbers < spec["num_trajectories"]
    states = np.concatenate([b["states"] for b in batches])
    job.write_arrays("trajectories", {"states": states, "seeds": numbers[kept]}, **metadata)
    table = cost_table(arm, batches, len(numbers), seconds)
    job.write_table("cost", table, policy=policy_options(arm.policy))


@torch.no_grad()
def sample_batch(arm: Arm, batch: np.ndarray, root: int, num_kept: int) -> dict:
    """Return samples, traces and numbers of evaluations of the seeds in `batch`.

    `states` are the whole trajectories of the seeds below `num_kept`.
    """
    numbers, kept = batch.tolist(), torch.from_numpy(batch < num_kept).to(arm.device)
    uniforms = torch.from_numpy(seeds.uniforms(root, "routing", numbers, arm.sampler.num_steps))
    condition, requested = arm.draw_conditions(root, numbers)

    def normals(name: str, *index: int) -> torch.Tensor:
        drawn = torch.from_numpy(seeds.normals(root, name, numbers, arm.shape, *index))
        return devices.to_device(drawn.to(arm.dtype), arm.device)

    def make_field(of: Condition | None) -> RoutedField:
        """Return the ensemble under the condition of one guidance branch."""
        return RoutedField(
            arm.experts,
            arm.router,
            arm.policy,
            uniforms.to(arm.device),
            cluster=oracle_clusters(arm, root, numbers),
            seeds=torch.from_numpy(batch),
            keep_states=bool(kept.any()),
            condition=of,
            directions=normals("divergence") if arm.router.reads == "divergences" else None,
            router_name=arm.router_name,
            policy_name=arm.policy_name,
        )

    field = arm.guidance.field(make_field, condition)
    noise = (lambda step: normals("sampler_noise", step)) if arm.sampler.is_stochastic else None
    x = arm.sampler(field, normals("noise"), noise=noise)
    states = [s[kept] for s in field.states] + [x[kept]]
    if not field.states:
        states = [x[kept]] * (arm.sampler.num_evaluations + 1)
    samples = x.cpu()
    check_finite(samples, batch)
    has_text = condition is not None and condition.text is not None
    return {
        "samples": samples.numpy(),
        "requested": requested,
        "num_tokens": condition.text.shape[1] if has_text else 0,
        "times": torch.stack([t[0] for t in field.times]).cpu().numpy(),
        "weights": torch.stack(field.weights, 1).float().cpu().numpy(),
        "posteriors": torch.stack(field.posteriors, 1).float().cpu().numpy(),
        "states": torch.stack(states, 1).cpu().numpy(),
        "expert_evaluations": field.expert_evaluations.cpu().numpy(),
        "router_evaluations": int(field.router_evaluations),
    }


def policy_options(policy: object) -> dict:
    """Return the name and the options of a policy, with the numbers found on the pilot run."""
    options = {field.name: getattr(policy, field.name) for field in fields(policy)}
    options = {n: policy_options(v) if is_dataclass(v) else v for n, v in options.items()}
    options = {n: v for n, v in options.items() if not isinstance(v, torch.Tensor)}
    return {"policy": type(policy).__name__} | options


def check_finite(x: torch.Tensor, batch: np.ndarray) -> None:
    """Raise ValueError with the seeds whose samples are NaN or infinite."""
    broken = batch[~x.isfinite().flatten(1).all(1).numpy()]
    if len(broken):
        raise ValueError(
            f"wanted finite samples, got nan or inf after the last step in {len(broken)} samples "
            f"(seeds {', '.join(map(str, broken[:5]))}); take smaller steps or check the experts"
        )
