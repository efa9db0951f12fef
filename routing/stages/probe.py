"""Stage probe: evaluate all experts of a partition on one fixed set of noised held-out states.

With  e_k = v_k - (eps - x_0),  the stage stores for each state the Gram matrix  G = E E^T / dim
(K x K), projections <u_j, v_k> of the velocities on random directions, and what regenerates the
state (`routing.data.probe_states`); the velocities are not stored. Since weights w sum to one, the
squared error of any weighted ensemble on a state is  w^T G w.  Experts are compared, and routers
are trained on the errors of experts, without evaluating an expert again.

There is one job per shard. It loads one expert at a time, so that memory holds one expert.
"""

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from routing.data import conditioners, probe_states, shards
from routing.ensemble.gram_matrix import gram
from routing.flow.conditions import Condition, ConditionedNetwork
from routing.loading import models
from routing.networks.dit import DiT
from routing.workflow import devices
from routing.workflow.progress import progress_bar

BATCH_SIZE = 512  # states in one forward pass


def run(job) -> None:
    """Write `gram` (Gram matrices and projections) and the table `states` of one shard."""
    spec = job.spec
    index = job.table("index")
    values = shards.values(job, index)
    heldout = np.flatnonzero((index["split"] == "heldout").to_numpy())
    probe = spec["probe"]
    fractions = {
        probe_states.FIT: probe["fit_fraction"],
        probe_states.CALIBRATE: probe["calibration_fraction"],
    }
    table = probe_states.table(heldout, probe["num_states"], spec["seed"], fractions)
    chosen = table.iloc[spec["first_state"] : spec["first_state"] + probe["shard_size"]]
    shard = probe_states.states(chosen, values.take(chosen["row"].to_numpy()), spec["seed"])
    velocities = torch.stack(all_velocities(job, shard, index))  # on the CPU
    num = probe["num_directions"]
    directions = probe_states.directions(chosen, num, values.shape, spec["seed"]).to(velocities)
    arrays = {
        "gram": gram(velocities, shard.target).numpy(),
        "projections": projections(velocities, directions).float().numpy(),
    }
    job.write_arrays("gram", arrays, num_evaluations=len(shard) * len(velocities))
    job.write_table("states", chosen.reset_index(drop=True))


def projections(velocities: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Return <u_j, v_k> [states, directions, experts].

    velocities: [experts, states, *dims], directions: [states, directions, *dims].
    """
    return torch.einsum("sjd,ksd->sjk", directions.flatten(2), velocities.flatten(2))


def all_velocities(job, shard: probe_states.States, index: pd.DataFrame) -> list[torch.Tensor]:
    """Return the velocities [states, *dims] of every expert on the states of the shard."""
    num = job.count("experts")
    progress = progress_bar(f"probe {job.spec['partition']}", num * len(shard))
    return [expert_velocities(job, k, shard, index, progress) for k in range(num)]


def expert_velocities(
    job, k: int, shard: probe_states.States, index: pd.DataFrame, progress: tqdm
) -> torch.Tensor:
    """Return the velocities [states, *dims] of expert k, which is loaded for this call alone."""
    metadata = job.metadata("experts", k)
    net = models.load(job.arrays("experts", k), metadata)
    conditioner = conditioners.from_metadata(
        metadata.get("conditioner"), conditioners.read_caption_table(job)
    )
    is_network = isinstance(net, DiT)
    device = devices.use_best_device(job) if is_network else devices.CPU
    expert = ConditionedNetwork(net.to(device)) if is_network else net.velocity
    parts = []
    for first in range(0, len(shard), BATCH_SIZE):
        rows = slice(first, first + BATCH_SIZE)
        given = () if conditioner is None else (state_conditions(conditioner, shard, index, rows),)
        x, t = shard.x[rows], shard.t[rows]
        if not is_network:  # closed forms are evaluated in float64
            x, t = x.double(), t.double()
        v = expert(*devices.to_device((x, t, *given), device))
        parts.append(devices.to_device(v, devices.CPU))
        progress.update(len(x))
    return torch.cat(parts)


def state_conditions(
    conditioner: conditioners.Conditioner,
    shard: probe_states.States,
    index: pd.DataFrame,
    rows: slice,
) -> Condition:
    """Return the condition of the states in `rows`; null where the state has none."""
    of = index.iloc[shard.row[rows]]
    return conditioner(of["label"].to_numpy(), of["caption"].tolist(), shard.is_null[rows])
