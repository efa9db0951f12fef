"""Stage metrics: every arm against the training images, with intervals, in one long table.

`metrics.parquet` has a row per arm and metric (run, arm, metric, value, lo, hi, se_sampling,
se_training, num_samples, num_trainings); `differences.parquet` the same metrics minus those of
the reference arm, paired by training and seed; `replicates.parquet` what both are made of (arm,
metric, training, block, value), so that any other pair of arms can be compared. A value is the
mean over the trainings. The held-out real images are one more "arm", `heldout`: what a perfect
generator of that many images would score. Intervals are jackknife intervals over blocks of seeds
with a part for the trainings (`routing.intervals`); they hold for this sample size.

To add a metric, write a frozen dataclass with `replicates(View) -> {name: [replicates]}` and give
it a row in METRICS. A name carries what changes the value: the feature space at least.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from routing import choices, seeds
from routing.energy import EnergyReference, energy_distance
from routing.frechet import FrechetReference, frechet_distance
from routing.intervals import jackknife_interval, jackknife_weights, paired_difference, seed_blocks
from routing.kernel import KernelReference, kernel_distance
from routing.neighbours import NeighbourReference, neighbour_metrics
from routing.progress import track
from routing.shards import Shards
from routing.shares import kl_divergence, shares, total_variation

ENDS = ["value", "lo", "hi", "se_sampling", "se_training", "num_samples", "num_trainings"]
COLUMNS = ["run", "arm", "metric", *ENDS]
Replicates = dict[str, Tensor]  # by metric: [trainings, replicates]


@dataclass(frozen=True)
class Real:
    """The training images in every space, and the shares of their classes and clusters."""

    space: str
    features: Tensor  # [images, dim]
    labels: Tensor  # [images] class index
    class_names: list[str]
    clusters: Tensor  # [images] nearest centroid
    centroids: Tensor  # [clusters, dim of the partition's space]
    references: dict = field(default_factory=dict)

    def fitted(self, kind: type, *options: object) -> object:
        """`kind.fit` of the features, computed once for all arms."""
        key = (kind, *options)
        if key not in self.references:
            self.references[key] = kind.fit(self.features, *options)
        return self.references[key]


@dataclass(frozen=True)
class View:
    """One arm: its features and what they are compared with."""

    real: Real
    features: Tensor  # [samples, dim]
    classes: Tensor | None  # [samples] class index said by the extractor
    asked: Tensor | None  # [samples] class index that the sample was asked for
    clusters: Tensor  # [samples] nearest centroid
    weights: Tensor  # [replicates, samples]


@dataclass(frozen=True)
class Frechet:
    """Frechet distance to the training features; `fd_<space>`, lower is better."""

    def replicates(self, view: View) -> dict[str, Tensor]:
        """One value per replicate."""
        reference = view.real.fitted(FrechetReference)
        name = f"fd_{view.real.space}"
        return {name: frechet_distance(view.features, reference, view.weights)}


@dataclass(frozen=True)
class Kernel:
    """Kernel distance (unbiased, cubic kernel); `kd_<space>`, lower is better."""

    def replicates(self, view: View) -> dict[str, Tensor]:
        """One value per replicate."""
        reference = view.real.fitted(KernelReference)
        name = f"kd_{view.real.space}"
        return {name: kernel_distance(view.features, reference, view.weights)}


@dataclass(frozen=True)
class Neighbours:
    """Precision and recall (k = 3), density and coverage (k = 5); higher is better."""

    k_precision: int = 3
    k_density: int = 5

    def replicates(self, view: View) -> dict[str, Tensor]:
        """Four metrics, named with the feature space."""
        reference = view.real.fitted(NeighbourReference, self.k_precision, self.k_density)
        found = neighbour_metrics(view.features, reference, view.weights)
        return {f"{name}_{view.real.space}": values for name, values in found.items()}


@dataclass(frozen=True)
class Energy:
    """Energy distance to the training features; `energy_<space>`, lower is better."""

    def replicates(self, view: View) -> dict[str, Tensor]:
        """One value per replicate."""
        reference = view.real.fitted(EnergyReference)
        name = f"energy_{view.real.space}"
        return {name: energy_distance(view.features, reference, view.weights)}


@dataclass(frozen=True)
class ClassShares:
    """Shares of the classes the extractor sees; total variation and KL from the data's shares."""

    def replicates(self, view: View) -> dict[str, Tensor]:
        """`class_share_<label>` for every label, `class_tv`, `class_kl` (nats)."""
        if view.classes is None:
            raise ValueError(
                "metrics: 'class_shares' wants an extractor with classes, got one without; "
                "take a classifier or leave the metric out"
            )
        names = view.real.class_names
        return _compared("class", names, view.classes, view.real.labels, view.weights)


@dataclass(frozen=True)
class ClusterShares:
    """Shares of the clusters by nearest centroid; total variation and KL from the data's."""

    def replicates(self, view: View) -> dict[str, Tensor]:
        """`cluster_share_<k>` for every cluster, `cluster_tv`, `cluster_kl` (nats)."""
        names = [str(k) for k in range(len(view.real.centroids))]
        return _compared("cluster", names, view.clusters, view.real.clusters, view.weights)


@dataclass(frozen=True)
class Agreement:
    """Share of the samples in which the extractor sees the class that was asked for.

    `agreement_<space>`, higher is better; of arms that ask for a label, and of held-out images.
    """

    def replicates(self, view: View) -> dict[str, Tensor]:
        """One value per replicate; none for an arm that asks for nothing."""
        if view.asked is None:
            return {}
        if view.classes is None:
            raise ValueError(
                "metrics: 'agreement' wants an extractor with classes, got one without; "
                "take a classifier or leave the metric out"
            )
        is_right = (view.classes == view.asked).double()
        name = f"agreement_{view.real.space}"
        return {name: view.weights @ is_right / view.weights.sum(1)}


METRICS = {
    "frechet": Frechet,
    "kernel": Kernel,
    "neighbours": Neighbours,
    "energy": Energy,
    "class_shares": ClassShares,
    "cluster_shares": ClusterShares,
    "agreement": Agreement,
}


def run(job) -> None:
    """Write `metrics` and `differences`."""
    spec = job.spec
    table = choices.rows("metrics", METRICS)
    metrics = [choices.build(table, m, "metrics.list") for m in spec["list"]]
    sets = Sets(job)
    found: dict[str, Replicates] = {}
    sizes = {}
    for name in track(sets.arms, "metrics", len(sets.arms)):
        of_training = []
        for view in sets.views(name):
            of_training.append(measured(metrics, view))
            sizes[name] = len(view.features)
        found[name] = {m: torch.stack([v[m] for v in of_training]) for m in of_training[0]}
    job.write_table("metrics", long_table(spec["run"], found, sizes))
    job.write_table("differences", differences(spec["run"], found, sizes, spec["reference_arm"]))
    job.write_table("replicates", replicate_table(found))


def measured(metrics: list, view: "View") -> dict[str, Tensor]:
    """The replicates of all metrics on one view; ValueError if two of them share a name."""
    values: dict[str, Tensor] = {}
    for metric in metrics:
        more = metric.replicates(view)
        if twice := sorted(values.keys() & more.keys()):
            raise ValueError(f"metrics.list: {twice[0]} is measured twice; leave one out")
        values |= more
    return values


def long_table(run: str, found: dict[str, Replicates], sizes: dict[str, int]) -> pd.DataFrame:
    """A row per arm and metric."""
    rows = [
        [run, arm, metric, *jackknife_interval(replicates), sizes[arm], len(replicates)]
        for arm, values in found.items()
        for metric, replicates in values.items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def differences(
    run: str, found: dict[str, Replicates], sizes: dict[str, int], reference: str
) -> pd.DataFrame:
    """Each arm minus the reference arm, paired; `heldout` has no seeds, so no row."""
    base = found[reference]
    rows = []
    for arm, values in found.items():
        if arm in (reference, HELDOUT):
            continue
        for metric, replicates in values.items():
            if metric not in base:
                continue
            interval = paired_difference(replicates, base[metric])
            rows.append([run, arm, reference, metric, *interval, sizes[arm], len(replicates)])
    return pd.DataFrame(rows, columns=[*COLUMNS[:2], "reference", *COLUMNS[2:]])


def replicate_table(found: dict[str, Replicates]) -> pd.DataFrame:
    """arm, metric, training, block (-1: all samples; b: all but those of block b), value."""
    parts = []
    for arm, values in found.items():
        for metric, replicates in values.items():
            trainings, blocks = replicates.shape
            part = {
                "training": np.repeat(np.arange(trainings), blocks),
                "block": np.tile(np.arange(-1, blocks - 1), trainings),
                "value": replicates.flatten().double().numpy(),
            }
            parts.append(pd.DataFrame({"arm": arm, "metric": metric} | part))
    return pd.concat(parts, ignore_index=True)


HELDOUT = "heldout"


class Sets:
    """The arms' features and the real ones, read as they are asked for."""

    def __init__(self, job):
        """Read what all arms share."""
        self.job, self.names = job, job.spec["arms"]
        self.index = job.table("index")
        self.num = len(self.index)
        self.train = (self.index["split"] == "train").to_numpy()
        self.class_names, self.labels = np.unique(self.index["label"], return_inverse=True)
        self.arms = [HELDOUT, *self.names]

    @cached_property
    def real(self) -> Real:
        """The train split."""
        # By nearest centroid as the samples, not by assignment: a partition may divide otherwise.
        distances = self.job.table("assignments").filter(like="distance_")
        return Real(
            space=self.job.spec["extractor"],
            features=self._real("real", self.train)["features"].double(),
            labels=torch.from_numpy(self.labels[self.train]),
            class_names=[str(n) for n in self.class_names],
            clusters=torch.from_numpy(distances.to_numpy()[self.train].argmin(1)),
            centroids=torch.from_numpy(self.job.arrays("centroids")["centroids"]).double(),
        )

    def views(self, arm: str) -> Iterator[View]:
        """The arm's features, a view per training; the held-out split if it is the arm."""
        if arm == HELDOUT:
            place = self._real("real_place", self._heldout)["features"]
            asked = torch.from_numpy(self.labels[self._heldout])[:, None]
            yield self._view(arm, self._real("real", self._heldout) | {"asked": asked}, place)
            return
        number, num = self.names.index(arm), self.job.spec["num_trainings"]
        arrays = self._read("features", number)
        place = self._read("place", number)["features"].chunk(num)
        parts = zip(*(a.chunk(num) for a in arrays.values()), strict=True)
        for part, own_place in zip(parts, place, strict=True):
            yield self._view(arm, dict(zip(arrays, part, strict=True)), own_place)

    def _view(self, arm: str, arrays: dict[str, Tensor], place: Tensor) -> View:
        features = arrays["features"].double()
        classes = arrays["logits"].argmax(1) if "logits" in arrays else None
        asked = arrays["asked"][:, 0] if "asked" in arrays else None
        clusters = torch.cdist(place.double(), self.real.centroids).argmin(1)
        wanted = self.job.spec["num_blocks"]
        num_blocks = min(wanted, len(features)) if arm == HELDOUT else wanted
        weights = jackknife_weights(seed_blocks(len(features), num_blocks))
        return View(self.real, features, classes, asked, clusters, weights)

    def _real(self, name: str, kept: np.ndarray) -> dict[str, Tensor]:
        """These rows of the real images, from all shards."""
        keys, rows = self.job.mapped(name).keys(), self.index.iloc[np.arange(self.num)[kept]]
        everything = np.arange(len(rows))
        arrays = {key: Shards(self.job, name, rows, key).take(everything) for key in keys}
        return self._finite(arrays, name, 0)

    def _read(self, name: str, number: int) -> dict[str, Tensor]:
        return self._finite(self.job.arrays(name, number), name, number)

    def _finite(self, arrays: dict, name: str, number: int) -> dict[str, Tensor]:
        for key, a in arrays.items():
            if bad := int((~np.isfinite(a)).any(1).sum()):
                raise ValueError(
                    f"{self.job.inputs[name][number]}: wanted finite {key}, got nan or inf in "
                    f"{bad} of {len(a)} rows; find out what made them"
                )
        return {key: torch.from_numpy(a) for key, a in arrays.items()}

    @cached_property
    def _heldout(self) -> np.ndarray:
        """The held-out rows, as many as fill whole blocks.

        In random order: a source may be sorted, and blocks must be alike.
        """
        rng = seeds.stream(self.job.spec["seed"], "evaluation", 1)
        rows = rng.permutation(np.flatnonzero(~self.train))
        return rows[: len(rows) - len(rows) % min(self.job.spec["num_blocks"], len(rows))]


def _compared(
    kind: str, names: list[str], labels: Tensor, real: Tensor, weights: Tensor
) -> dict[str, Tensor]:
    p = shares(labels, len(names), weights)
    q = shares(real, len(names), torch.ones(1, len(real)))[0]
    found = {f"{kind}_share_{name}": p[:, c] for c, name in enumerate(names)}
    return found | {f"{kind}_tv": total_variation(p, q), f"{kind}_kl": kl_divergence(p, q)}
