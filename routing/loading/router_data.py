"""What a learned router is trained on: batches of training images, or of states of the probe.

An objective names what it reads (`reads`), a key of BATCH_SOURCES:

    images   noisings of training images with fresh noise, as in DDM (arXiv:2501.05450)
    probe    stored states of the part "fit" with what the experts predicted there, so that no
             expert is evaluated

To add a source, write a function `(data, batch_size, drop) -> DrawBatch` and give it a row in
BATCH_SOURCES.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from routing.data import conditioners, probe_states, shards
from routing.ensemble.objectives import Batch
from routing.flow import paths
from routing.flow.conditions import Condition
from routing.partitions.membership import memberships
from routing.training.batches import noise_batch
from routing.workflow import seeds

DrawBatch = Callable[[np.random.Generator], tuple[Batch, Condition | None]]


class RouterData:
    """Inputs of the stage router: training images with their clusters, and the probe.

    `prior` is the fraction of training images in each cluster, `train` the positions of the
    training images in the index, `values` all samples, `distances` [images, clusters] those to
    the centroids. `condition` ("none", "label", "text") is what the router is conditioned on.
    """

    def __init__(self, job, condition: str):
        """Read the inputs of the job."""
        self.job, self.root = job, job.spec["seed"]
        self.index, assignments = job.table("index"), job.table("assignments")
        self.values = shards.values(job, self.index)
        self._clusters = torch.tensor(memberships(assignments))  # [images, clusters of each]
        distances = assignments.filter(like="distance_").to_numpy(np.float32)
        self.distances = torch.tensor(distances)
        self.train = np.flatnonzero((self.index["split"] == "train").to_numpy())
        sizes = self._clusters[self.train].flatten().bincount(minlength=job.spec["num_experts"])
        self.prior = sizes / sizes.sum()
        train = self.index.iloc[self.train]
        self.conditioner = conditioners.make(
            condition, train, conditioners.read_caption_table(job)
        )

    def clusters(self, rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Return a cluster [images] of each image; of several, one drawn uniformly."""
        clusters = self._clusters[rows]
        if clusters.shape[1] == 1:
            return clusters[:, 0]
        picked = rng.integers(clusters.shape[1], size=len(clusters))
        return clusters[torch.arange(len(clusters)), torch.from_numpy(picked)]

    def conditions(self, rows: np.ndarray, is_dropped: np.ndarray) -> Condition | None:
        """Return the prompts of these images, null where dropped; None without a condition."""
        if self.conditioner is None:
            return None
        of = self.index.iloc[rows]
        return self.conditioner(of["label"].to_numpy(), of["caption"].tolist(), is_dropped)

    def probe(
        self, part: str
    ) -> tuple[pd.DataFrame, probe_states.States, dict[str, torch.Tensor]]:
        """Return the table, the states and the stored arrays of a part of the probe.

        The arrays are `gram` and `projections`.
        """
        num = self.job.count("states")
        tables = [self.job.table("states", i) for i in range(num)]
        arrays = [self.job.arrays("gram", i) for i in range(num)]
        table = pd.concat(tables, ignore_index=True)
        rows = np.flatnonzero((table["split"] == part).to_numpy())
        stored = {
            name: torch.from_numpy(np.concatenate([a[name] for a in arrays])[rows])
            for name in arrays[0]
        }
        chosen = table.iloc[rows].reset_index(drop=True)
        images = self.values.take(chosen["row"].to_numpy())
        return chosen, probe_states.states(chosen, images, self.root), stored


def image_batches(data: RouterData, batch_size: int, drop: float) -> DrawBatch:
    """Return a function that draws noisings of training images.

    The fraction `drop` of a batch has the null condition.
    """
    values = data.values

    def draw(rng: np.random.Generator) -> tuple[Batch, Condition | None]:
        picked, eps, t = noise_batch(len(data.train), values.shape, batch_size, rng)
        rows = data.train[picked]
        is_dropped = rng.random(len(rows)) < drop
        uniforms = torch.from_numpy(rng.random(len(rows), np.float32))
        x = paths.add_noise(torch.from_numpy(values.take(rows)), eps, t)
        cluster, distances = data.clusters(rows, rng), data.distances[rows]
        batch = Batch(x, t, cluster, distances, data.prior, uniforms=uniforms)
        return batch, data.conditions(rows, is_dropped)

    return draw


def probe_batches(data: RouterData, batch_size: int, drop: float) -> DrawBatch:
    """Return a function that draws stored states of the part "fit", with replacement.

    A state has the null condition where the experts had it on the probe; `drop` is not used.
    """
    chosen, states, stored = data.probe(probe_states.FIT)
    num = stored["projections"].shape[1]
    directions = probe_states.directions(chosen, num, data.values.shape, data.root)
    rng_clusters = seeds.stream(data.root, "membership", 1)
    cluster, distances = data.clusters(states.row, rng_clusters), data.distances[states.row]

    def draw(rng: np.random.Generator) -> tuple[Batch, Condition | None]:
        rows = torch.from_numpy(rng.integers(len(states), size=batch_size))
        uniforms = torch.from_numpy(rng.random(len(rows), np.float32))
        # One direction at a time: several of one state carry nearly the same information.
        one = [int(rng.integers(num))]
        batch = Batch(
            states.x[rows],
            states.t[rows],
            cluster[rows],
            distances[rows],
            data.prior,
            gram=stored["gram"][rows],
            directions=directions[rows][:, one],
            projections=stored["projections"][rows][:, one],
            uniforms=uniforms,
        )
        picked = rows.numpy()
        return batch, data.conditions(states.row[picked], states.is_null[picked])

    return draw


BATCH_SOURCES = {"images": image_batches, "probe": probe_batches}
