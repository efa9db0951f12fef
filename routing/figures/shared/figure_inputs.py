"""The files that a figure reads, accessed by arm, partition and router instead of file number.

The attribute `needs` of a figure lists groups of files: metrics, differences, comparisons,
replicates, costs, traces, samples, trajectories, losses, router_losses, router_reports,
reliability, probes, cluster_features, data, partitions, reports. The rule passes exactly the files
of these groups, in the order of the names in the spec. With several training seeds, samples,
trajectories and losses are those of the first one; all other files are there for every seed.
Images are read, and latents decoded, only for the samples that are requested.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pandas as pd

from routing.data import shards
from routing.figures.shared.config_view import ConfigView, require_known


class FigureInputs(ConfigView):
    """The input files of one figure, and its view of the config."""

    def __init__(self, job):
        """Keep the job; a file is read when a method needs it."""
        super().__init__(job.spec)
        self.job = job

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Metric table: run, arm, metric, value, lo, hi, standard errors, counts, note.

        `lo` and `hi` are the ends of the 95 % interval; see `routing.stages.metric_tables`.
        """
        return self.job.table("metrics")

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Columns of the metric table and `reference`; values are arm minus reference."""
        return self.job.table("differences")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """All pairs of arms: run, metric, arm, other, value, lo, hi, standard errors, p values."""
        return self.job.table("comparisons")

    def replicates(self, arm: str, metric: str) -> np.ndarray:
        """Return the jackknife replicates of a metric, [training seeds, 1 + blocks].

        Column 0 is the value of all samples.
        """
        table = self._replicates
        mine = table[(table["arm"] == arm) & (table["metric"] == metric)]
        require_known(metric, list(dict.fromkeys(table["metric"])), "metric")
        wide = mine.pivot(index="training_seed", columns="block", values="value")
        return wide.sort_index().sort_index(axis=1).to_numpy()

    def metric_rows(self, metric: str, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `metric` in `table`, indexed by arm; ValueError if there are none."""
        require_known(metric, list(dict.fromkeys(table["metric"])), "metric")
        return table[table["metric"] == metric].set_index("arm", drop=False)

    def cost(self, arm: str) -> pd.DataFrame:
        """Return component (expert, router, total), expert_index, evaluations, flop, seconds.

        Evaluations (NFE) and FLOPs are per sample, means over shards and training seeds. Seconds
        are the sum over them.
        """
        parts = [self.job.table("costs", i) for i in self._shards("costs", arm)]
        mean = pd.concat(parts).groupby(["component", "expert_index"], as_index=False, sort=False)
        return mean.agg({"evaluations": "mean", "flop": "mean", "seconds": "sum"})

    def trace(self, arm: str) -> dict[str, np.ndarray]:
        """Return times [calls], weights and posteriors [samples, calls, experts], seeds [samples].

        Samples are those of all training seeds, one after the other.
        """
        return self._joined("traces", arm, shared=("times",))

    def cluster_features(self, arm: str) -> np.ndarray:
        """Return the features [samples, dim] by which samples are assigned to clusters.

        Samples are in the order of `trace`.
        """
        i = list(self.arms).index(arm)
        return self.job.arrays("cluster_features", i)["features"]

    def samples(self, arm: str, num: int) -> np.ndarray:
        """Return the first `num` generated samples, not clipped; latents are decoded to images.

        The autoencoder is the one that encoded the data. Raises ValueError if the weights in its
        folder have changed since.
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
        """Yield the generated samples shard by shard; latents are not decoded."""
        for i in self._shards("samples", arm):
            yield self.job.mapped("samples", i)["samples"]

    def trajectories(self, arm: str) -> np.ndarray:
        """Return states [seeds, calls + 1, ...] of the first seeds, from t = 1 to t = 0."""
        return self._joined("trajectories", arm)["states"]

    def expert_loss(self, partition: str, cluster: int) -> pd.DataFrame:
        """Return the loss curve of one expert: step, images, loss."""
        i = self.spec["experts"].index([partition, cluster])
        self._check_spec("losses", i, partition=partition, cluster=cluster)
        return self.job.table("losses", i)

    def router_loss(self, partition: str, router: str) -> pd.DataFrame:
        """Return the loss curve of one learned router: step, images, loss."""
        return self.job.table("router_losses", self._router("router_losses", partition, router))

    def router_report(self, partition: str, router: str) -> pd.DataFrame:
        """Return version, t_low, t_high, num_states, quantity, value, training_seed."""
        return self._of_all_seeds("router_reports", partition, router)

    def reliability(self, partition: str, router: str) -> pd.DataFrame:
        """Return version, bin, num_states, confidence, accuracy, training_seed."""
        return self._of_all_seeds("reliability", partition, router)

    def probe(self, partition: str) -> tuple[pd.DataFrame, np.ndarray]:
        """Return the states (state, row, t, is_null, split, training_seed) and Gram matrices.

        The probe is a set of noised held-out images on which all experts were evaluated.
        """
        per_seed, first = self.spec["num_probe_shards"], self.spec["probed"].index(partition)
        tables, grams = [], []
        for training_seed in range(self.num_training_seeds):
            for part in range(per_seed):
                i = (first * self.num_training_seeds + training_seed) * per_seed + part
                self._check_spec("grams", i, partition=partition, training_seed=training_seed)
                tables.append(self.job.table("states", i).assign(training_seed=training_seed))
                grams.append(self.job.arrays("grams", i)["gram"])
        return pd.concat(tables, ignore_index=True), np.concatenate(grams)

    @cached_property
    def index(self) -> pd.DataFrame:
        """Columns split, label, shard and row of all real samples (needs `data`)."""
        return self.job.table("index", columns=["split", "label", "shard", "row"])

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Return real samples [rows, ...] in [-1, 1], by position in `index` (needs `data`)."""
        return self._real_samples.take(rows)

    @cached_property
    def levels(self) -> int | None:
        """Largest stored value of an image; None if samples are points (needs `data`)."""
        return self.job.metadata("data")["levels"]

    @cached_property
    def world(self) -> dict | None:
        """weights, means and stds if the data are a Gaussian mixture, else None (needs `data`)."""
        return self.job.metadata("data")["world"]

    def centroids(self, partition: str) -> np.ndarray:
        """Return centroids [clusters, dim] in the space of `cluster_features`."""
        return self.job.arrays("centroids", self._partition("centroids", partition))["centroids"]

    def assignments(self, partition: str, columns: list[str] | None = None) -> pd.DataFrame:
        """Return cluster, second (if clusters overlap) and distance_<k> of all real samples."""
        i = self._partition("partitions", partition)
        return self.job.table("partitions", i, columns=columns)

    def clusters(self, partition: str) -> np.ndarray:
        """Return the cluster of each real sample, the nearest one if clusters overlap."""
        return self.assignments(partition, ["cluster"])["cluster"].to_numpy()

    def partition_report(self, partition: str) -> pd.DataFrame:
        """Return quantity, cluster (-1: the whole partition) and value (needs `reports`)."""
        return self.job.table("reports", self._partition("reports", partition))

    def cluster_sizes(self, partition: str) -> np.ndarray:
        """Return the number of training images of each cluster (needs `partitions`)."""
        return self.job.arrays("centroids", self._partition("centroids", partition))["sizes"]

    def cluster_shares(self, partition: str) -> np.ndarray:
        """Return the share of each cluster among the training images (needs `partitions`)."""
        sizes = self.cluster_sizes(partition)
        return sizes / sizes.sum()

    def _partition(self, name: str, partition: str) -> int:
        i = list(self.num_experts).index(partition)
        self._check_spec(name, i, partition=partition)
        return i

    def _router(self, name: str, partition: str, router: str) -> int:
        i = self.spec["routers"].index([partition, router])
        self._check_spec(name, i, partition=partition, router_name=router)
        return i

    @cached_property
    def _real_samples(self) -> shards.Shards:
        return shards.values(self.job, self.index, "data")

    def _decoded(self, latents: np.ndarray, arm: str) -> np.ndarray:
        import torch

        from routing.pretrained import autoencoders

        metadata = self.job.metadata("samples", self._shards("samples", arm)[0])
        loaded = autoencoders.load(metadata["autoencoder"])  # its sha256 is checked
        return loaded.decode(torch.from_numpy(latents.astype(np.float32))).numpy()

    @cached_property
    def _replicates(self) -> pd.DataFrame:
        return self.job.table("replicates")

    def _of_all_seeds(self, name: str, partition: str, router: str) -> pd.DataFrame:
        first = self.spec["routers"].index([partition, router]) * self.num_training_seeds
        parts = []
        for training_seed in range(self.num_training_seeds):
            expected = {
                "partition": partition,
                "router_name": router,
                "training_seed": training_seed,
            }
            self._check_spec(name, first + training_seed, **expected)
            table = self.job.table(name, first + training_seed)
            parts.append(table.assign(training_seed=training_seed))
        return pd.concat(parts, ignore_index=True)

    def _shards(self, name: str, arm: str) -> range:
        # The rule passes the files of all training seeds, or of the first one only.
        num, first = self.job.count(name) // len(self.arms), list(self.arms).index(arm)
        own = range(first * num, (first + 1) * num)
        for i in own:
            self._check_spec(name, i, arm_name=arm)
        return own

    def _check_spec(self, name: str, i: int, **expected: object) -> None:
        """Check that file `i` of `name` was made for the arm, partition ... of `expected`."""
        spec = self.job.metadata(name, i)["spec"]
        wrong = {key: spec[key] for key, v in expected.items() if spec.get(key, v) != v}
        assert not wrong, f"{name} {i}: wanted {expected}, got {wrong}; the rule has another order"

    def _joined(self, name: str, arm: str, shared: tuple = ()) -> dict[str, np.ndarray]:
        parts = [self.job.arrays(name, i) for i in self._shards(name, arm)]
        first = parts[0]
        return {
            key: first[key] if key in shared else np.concatenate([p[key] for p in parts])
            for key in first
        }
