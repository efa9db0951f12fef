"""What a figure may read, by the words of the pipeline instead of file numbers.

`needs` of a figure names any of: metrics, differences, comparisons, replicates, costs, traces,
samples, trajectories, losses, router_losses, router_reports, reliability, probes, places, data,
partitions, reports. The rule hands over just these files, in the order of the names in the spec.
Where everything was trained several times, pictures, trajectories and losses are those of the
first training; numbers are of all. Images are read, and latents decoded, only as far as they are
drawn.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pandas as pd

from routing.data import shards
from routing.figures.shared.config_view import ConfigView, require_known


class FigureInputs(ConfigView):
    """The inputs of one figure. Arms, partitions and so on keep the order of the config."""

    def __init__(self, job):
        """Wrap a job; files are read when asked for."""
        super().__init__(job.spec)
        self.job = job

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """run, arm, metric, value, lo, hi, errors, counts, note "
        "(routing/stages/metric_tables.py)."""
        return self.job.table("metrics")

    @cached_property
    def differences(self) -> pd.DataFrame:
        """The same with `reference`."""
        return self.job.table("differences")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """run, metric, arm, other, value, lo, hi, errors, p values."""
        return self.job.table("comparisons")

    def replicates(self, arm: str, metric: str) -> np.ndarray:
        """Values under the jackknife weights [trainings, replicates], all samples first."""
        table = self._replicates
        mine = table[(table["arm"] == arm) & (table["metric"] == metric)]
        require_known(metric, list(dict.fromkeys(table["metric"])), "metric")
        wide = mine.pivot(index="training_seed", columns="block", values="value")
        return wide.sort_index().sort_index(axis=1).to_numpy()

    def metric_rows(self, metric: str, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of `metric` in `table`, by arm; ValueError where it was not measured."""
        require_known(metric, list(dict.fromkeys(table["metric"])), "metric")
        return table[table["metric"] == metric].set_index("arm", drop=False)

    def cost(self, arm: str) -> pd.DataFrame:
        """part (expert, router, total), number, evaluations and flop per sample, seconds.

        Means over the shards and trainings; seconds are the sum.
        """
        parts = [self.job.table("costs", i) for i in self._shards("costs", arm)]
        mean = pd.concat(parts).groupby(["component", "expert_index"], as_index=False, sort=False)
        return mean.agg({"evaluations": "mean", "flop": "mean", "seconds": "sum"})

    def trace(self, arm: str) -> dict[str, np.ndarray]:
        """times [calls], weights and posteriors [samples, calls, experts], seeds [samples].

        The samples of all trainings, one training after the other.
        """
        return self._joined("traces", arm, shared=("times",))

    def cluster_features(self, arm: str) -> np.ndarray:
        """Features [samples, dim] where cluster shares are counted, in the order of `trace`."""
        i = list(self.arms).index(arm)
        return self.job.arrays("cluster_features", i)["features"]

    def samples(self, arm: str, num: int) -> np.ndarray:
        """The first `num` generated samples, not clipped; latents are decoded to images.

        By the autoencoder that made the latents; ValueError if its folder now holds other weights.
        """
        parts, missing = [], num
        for part in self.sample_shards(arm):
            parts.append(np.asarray(part[:missing]))
            missing -= len(parts[-1])
            if missing == 0:
                break
        values = np.concatenate(parts)
        return values if self.spec["autoencoder"] is None else self._decoded(values, arm)

    def sample_shards(self, arm: str) -> Iterator[np.ndarray]:
        """What the arm's experts made (latents stay latents), shard by shard of the seeds."""
        for i in self._shards("samples", arm):
            yield self.job.mapped("samples", i)["samples"]

    def trajectories(self, arm: str) -> np.ndarray:
        """States [seeds, calls + 1, ...] of the first seeds: before every call, and the end."""
        return self._joined("trajectories", arm)["states"]

    def expert_loss(self, partition: str, cluster: int) -> pd.DataFrame:
        """step, images, loss of one expert."""
        i = self.spec["experts"].index([partition, cluster])
        self._expect("losses", i, partition=partition, cluster=cluster)
        return self.job.table("losses", i)

    def router_loss(self, partition: str, router: str) -> pd.DataFrame:
        """step, images, loss of one learned router."""
        return self.job.table("router_losses", self._router("router_losses", partition, router))

    def router_report(self, partition: str, router: str) -> pd.DataFrame:
        """version, t_low, t_high, num_states, quantity, value, training."""
        return self._of_trainings("router_reports", partition, router)

    def reliability(self, partition: str, router: str) -> pd.DataFrame:
        """version, bin, num_states, confidence, accuracy, training."""
        return self._of_trainings("reliability", partition, router)

    def probe(self, partition: str) -> tuple[pd.DataFrame, np.ndarray]:
        """States (number, row, t, is_null, part, training) and their Gram matrices."""
        per_training, first = self.spec["num_probe_shards"], self.spec["probed"].index(partition)
        tables, grams = [], []
        for training in range(self.num_training_seeds):
            for part in range(per_training):
                i = (first * self.num_training_seeds + training) * per_training + part
                self._expect("grams", i, partition=partition, training_seed=training)
                tables.append(self.job.table("states", i).assign(training_seed=training))
                grams.append(self.job.arrays("grams", i)["gram"])
        return pd.concat(tables, ignore_index=True), np.concatenate(grams)

    @cached_property
    def index(self) -> pd.DataFrame:
        """split, label, shard and row of every real sample (needs `data`)."""
        return self.job.table("index", columns=["split", "label", "shard", "row"])

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Real values [rows, ...] in [-1, 1], by positions in the index (needs `data`)."""
        return self._real.take(rows)

    @cached_property
    def levels(self) -> int | None:
        """Largest stored value of the images; None for points (needs `data`)."""
        return self.job.metadata("data")["levels"]

    @cached_property
    def world(self) -> dict | None:
        """weights, means, stds of a closed-form world, else None (needs `data`)."""
        return self.job.metadata("data")["world"]

    def centroids(self, partition: str) -> np.ndarray:
        """Centroids [clusters, dim] in the space of `place` (needs `partitions`)."""
        return self.job.arrays("centroids", self._partition("centroids", partition))["centroids"]

    def assignments(self, partition: str, columns: list[str] | None = None) -> pd.DataFrame:
        """cluster, second (if clusters overlap), distance_<k> of all real samples, by position."""
        i = self._partition("partitions", partition)
        return self.job.table("partitions", i, columns=columns)

    def clusters(self, partition: str) -> np.ndarray:
        """Cluster of every real sample, the nearest if clusters overlap (needs `partitions`)."""
        return self.assignments(partition, ["cluster"])["cluster"].to_numpy()

    def partition_report(self, partition: str) -> pd.DataFrame:
        """quantity, cluster (-1: of the whole partition), value (needs `reports`)."""
        return self.job.table("reports", self._partition("reports", partition))

    def cluster_sizes(self, partition: str) -> np.ndarray:
        """Training images per cluster (needs `partitions`)."""
        return self.job.arrays("centroids", self._partition("centroids", partition))["sizes"]

    def cluster_shares(self, partition: str) -> np.ndarray:
        """Return the share of each cluster among the training images (needs `partitions`)."""
        sizes = self.cluster_sizes(partition)
        return sizes / sizes.sum()

    def _partition(self, name: str, partition: str) -> int:
        i = list(self.num_experts).index(partition)
        self._expect(name, i, partition=partition)
        return i

    def _router(self, name: str, partition: str, router: str) -> int:
        i = self.spec["routers"].index([partition, router])
        self._expect(name, i, partition=partition, router_name=router)
        return i

    @cached_property
    def _real(self) -> shards.Shards:
        return shards.values(self.job, self.index, "data")

    def _decoded(self, latents: np.ndarray, arm: str) -> np.ndarray:
        import torch

        from routing.pretrained import autoencoders

        made = self.job.metadata("samples", self._shards("samples", arm)[0])
        loaded = autoencoders.load(
            made["autoencoder"]
        )  # with the sha256 of then: those weights or none
        return loaded.decode(torch.from_numpy(latents.astype(np.float32))).numpy()

    @cached_property
    def _replicates(self) -> pd.DataFrame:
        return self.job.table("replicates")

    def _of_trainings(self, name: str, partition: str, router: str) -> pd.DataFrame:
        first = self.spec["routers"].index([partition, router]) * self.num_training_seeds
        parts = []
        for training in range(self.num_training_seeds):
            whose = {"partition": partition, "router_name": router, "training_seed": training}
            self._expect(name, first + training, **whose)
            parts.append(self.job.table(name, first + training).assign(training_seed=training))
        return pd.concat(parts, ignore_index=True)

    def _shards(self, name: str, arm: str) -> range:
        # Of all trainings or of the first: as many as the rule hands over.
        num, first = self.job.count(name) // len(self.arms), list(self.arms).index(arm)
        own = range(first * num, (first + 1) * num)
        for i in own:
            self._expect(name, i, arm_name=arm)
        return own

    def _expect(self, name: str, i: int, **whose: object) -> None:
        """Hold the order of the files against what they themselves say they are."""
        said = self.job.metadata(name, i)["spec"]
        wrong = {key: said[key] for key in whose if said.get(key, whose[key]) != whose[key]}
        assert not wrong, f"{name} {i}: wanted {whose}, got {wrong}; the rule has another order"

    def _joined(self, name: str, arm: str, shared: tuple = ()) -> dict[str, np.ndarray]:
        parts = [self.job.arrays(name, i) for i in self._shards(name, arm)]
        first = parts[0]
        return {
            key: first[key] if key in shared else np.concatenate([p[key] for p in parts])
            for key in first
        }
