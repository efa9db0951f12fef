"""Numbers of a policy that are found on a pilot run, such as the threshold of a budget.

A pilot run gives the inputs of a policy on held-out states: the posteriors of the arm's own
router, and the disagreement of the experts by time.

Disagreement is that of the Gram matrices of the probe. Posteriors are those on the probe's states
of the part "calibrate", in each guidance branch with weights of its own, conditioned as that
branch is. A router with a memory of its trajectory has no posterior on a single state; its
posteriors are those along the trajectories of NUM_PILOT_SAMPLES samples under the policy `full`,
with random numbers of their own (of two branches, those of the conditional one).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from routing.data import probe_states, shards
from routing.ensemble.gram_matrix import disagreement, mean_by_time
from routing.ensemble.policies import Full, Pilot, bind_pilot, required_pilot_fields
from routing.ensemble.routers import Router
from routing.ensemble.value_checks import ValueChecks
from routing.loading.arms import Arm, oracle_clusters
from routing.workflow import devices, seeds

NUM_PILOT_SAMPLES = 128
NUM_TIME_BINS = 10
BATCH_SIZE = 2048  # states in one evaluation of the router

# sample(arm, numbers, root): `posteriors` and `times` of the samples `numbers` of an arm
Sample = Callable[[Arm, np.ndarray, int], dict]


def calibrate_policy(job, arm: Arm, sample: Sample) -> Arm:
    """Return `arm` with the numbers of its policy found on a pilot run, if it has any.

    Raises ValueError if the job has no probe or the policy cannot be met on the pilot run.
    """
    wanted = required_pilot_fields(arm.policy)
    if not wanted:
        return arm
    num = max(1, job.count("states"))  # without files, the first is reported as missing
    table = pd.concat([job.table("states", i) for i in range(num)])
    gram = np.concatenate([job.arrays("gram", i)["gram"] for i in range(num)])
    t = torch.tensor(table["t"].to_numpy())
    edges = torch.linspace(0, 1, NUM_TIME_BINS + 1, dtype=torch.float64)
    apart = mean_by_time(disagreement(torch.from_numpy(gram)), t, edges)
    apart = apart.to(arm.device, arm.dtype)
    times, p = None, None
    if "posteriors" in wanted:
        has_memory = type(arm.router).observe is not Router.observe
        if has_memory:
            times, p = posteriors_on_trajectories(job, arm, sample)
        else:
            times, p = posteriors_on_probe(job, arm, table)
    pilot = Pilot(times, p, apart if "disagreement" in wanted else None)
    return replace(arm, policy=bind_pilot(arm.policy, pilot))


@torch.no_grad()
def posteriors_on_probe(job, arm: Arm, table: pd.DataFrame) -> tuple[torch.Tensor, torch.Tensor]:
    """Return t [states] and p [states, experts] on the part "calibrate" of the probe.

    `table` has all states of the probe. States are repeated for each guidance branch.
    """
    chosen = table[table["split"] == probe_states.CALIBRATE]
    index, root, times, parts = job.table("index"), job.spec["seed"], [], []
    images = shards.values(job, index, "images")
    held = probe_states.states(chosen, images.take(chosen["row"].to_numpy()), root)
    for first in range(0, len(held), BATCH_SIZE):
        rows = slice(first, first + BATCH_SIZE)
        x, t = (of[rows].to(arm.device, arm.dtype) for of in (held.x, held.t))
        prompt = None
        if arm.conditioner is not None:
            of = index.iloc[held.row[rows]]
            prompt = arm.conditioner(of["label"].to_numpy(), of["caption"].tolist())
            prompt = devices.to_device(prompt, arm.device)
        states = torch.tensor(chosen["state"].tolist()[rows])
        cluster = oracle_clusters(arm, root, states.tolist())
        for condition in arm.router_conditions(len(x), prompt):
            times.append(t)
            p = arm.router.posterior(x, t, arm.router.start(x, cluster, condition))
            what = f"the posterior of the router {arm.router_name!r} on the probe"
            ValueChecks(states).probabilities(what, p, len(arm.experts), t, None)
            parts.append(p)
    return torch.cat(times), torch.cat(parts)


def posteriors_on_trajectories(job, arm: Arm, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
    """Return t [states] and p [states, experts] along trajectories under the policy `full`."""
    root = seeds.integer(job.spec["seed"], "pilot", 0)
    found = sample(replace(arm, policy=Full()), np.arange(NUM_PILOT_SAMPLES), root)
    p, times = (
        torch.from_numpy(found[n]).to(arm.device, arm.dtype) for n in ("posteriors", "times")
    )
    p, times = p.flatten(0, 1), times.repeat(NUM_PILOT_SAMPLES)
    return times, p / p.sum(1, keepdim=True)
