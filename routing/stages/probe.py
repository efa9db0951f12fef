"""Stage probe: what all experts of a partition say on one fixed set of noised held-out states.

With  e_k = v_k - (eps - x_0)  the stage stores for each state the Gram matrix  G = E E^T / dim
(K x K) and projections <u_j, v_k> of the velocities on random directions, with what makes the
state again (`routing.data.probe_states`), but not the velocities. Since weights sum to one, the
squared
error of any weighted ensemble on a state is  w^T G w : every comparison of experts and the
training of every alignment-aware router follow without asking an expert again.

A shard is a job. Experts are loaded one after the other, so that one is in memory at a time.
"""

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from routing.data import probe_states, prompts, shards
from routing.ensemble.gram_matrix import gram
from routing.flow.conditions import Condition, ConditionedNetwork
from routing.loading import models
from routing.networks.dit import DiT
from routing.workflow import devices
from routing.workflow.progress import progress_bar

BATCH = 512  # states in one forward pass


def run(job) -> None:
    """Write `gram` (arrays, a row per state) and `states` (the table) of one shard."""
    spec = job.spec
    index = job.table("index")
    values = shards.values(job, index)
    heldout = np.flatnonzero((index["split"] == "heldout").to_numpy())
    parts = {part: spec["probe"][part] for part in (probe_states.FIT, probe_states.CALIBRATE)}
    table = probe_states.table(heldout, spec["probe"]["num_states"], spec["seed"], parts)
    chosen = table.iloc[spec["first_state"] : spec["first_state"] + spec["probe"]["shard_size"]]
    shard = probe_states.states(chosen, values.take(chosen["row"].to_numpy()), spec["seed"])
    velocities = torch.stack(answers(job, shard, index))  # on the CPU, where sums are in float64
    num = spec["probe"]["num_directions"]
    along = probe_states.directions(chosen, num, values.shape, spec["seed"]).to(velocities)
    arrays = {
        "gram": gram(velocities, shard.target).numpy(),
        "projections": projections(velocities, along).float().numpy(),
    }
    job.write_arrays("gram", arrays, num_evaluations=len(shard) * len(velocities))
    job.write_table("states", chosen.reset_index(drop=True))


def projections(velocities: torch.Tensor, along: torch.Tensor) -> torch.Tensor:
    """<u_j, v_k> [states, directions, experts] of velocities [experts, states, *dims]."""
    return torch.einsum("sjd,ksd->sjk", along.flatten(2), velocities.flatten(2))


def answers(job, shard: probe_states.States, index: pd.DataFrame) -> list[torch.Tensor]:
    """The velocities of every expert on the states of the shard."""
    num = job.count("experts")
    progress = progress_bar(f"probe {job.spec['partition']}", num * len(shard))
    return [answer(job, k, shard, index, progress) for k in range(num)]


def answer(
    job, k: int, shard: probe_states.States, index: pd.DataFrame, progress: tqdm
) -> torch.Tensor:
    """The velocity of expert k [states, *dims]; it is gone from memory when this returns."""
    notes = job.metadata("experts", k)
    net = models.load(job.arrays("experts", k), notes)
    prompter = prompts.of_note(notes.get("prompts"), prompts.captions_of(job))
    is_network = isinstance(net, DiT)
    device = devices.use(job) if is_network else devices.CPU
    expert = ConditionedNetwork(net.to(device)) if is_network else net.velocity
    parts = []
    for first in range(0, len(shard), BATCH):
        rows = slice(first, first + BATCH)
        told = () if prompter is None else (condition(prompter, shard, index, rows),)
        x, t = shard.x[rows], shard.t[rows]
        if not is_network:  # a closed form, in double
            x, t = x.double(), t.double()
        said = expert(*devices.moved((x, t, *told), device))
        parts.append(devices.moved(said, devices.CPU))
        progress.update(len(x))
    return torch.cat(parts)


def condition(
    prompter: prompts.Prompter, shard: probe_states.States, index: pd.DataFrame, rows: slice
) -> Condition:
    """What the states in `rows` are told."""
    of = index.iloc[shard.row[rows]]
    return prompter(of["label"].to_numpy(), of["caption"].tolist(), shard.is_null[rows])
