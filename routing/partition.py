"""Stage partition: a division of the training images into K clusters.

One code path for all: a method fits on the train split and then assigns every sample, the
held-out ones too. The monolith is k-means with one cluster. To add a method, write a frozen
dataclass with `divide(Space) -> (clusters, centroids)` and give it a row in METHODS; without
centroids of its own (None), those of the clusters' train features are used.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from routing import choices, seeds


@dataclass(frozen=True)
class Space:
    """What a method may look at."""

    features: np.ndarray  # [samples, dim] float32
    labels: np.ndarray  # [samples]
    train: np.ndarray  # [samples] bool
    root: int
    like: np.ndarray | None = None  # [samples] clusters of the partition named by `like`
    components: np.ndarray | None = None  # [samples] in a world of components


Division = tuple[np.ndarray, np.ndarray | None]  # clusters [samples], centroids [clusters, dim]


@dataclass(frozen=True)
class KMeans:
    """FAISS k-means on the train features; every sample to its nearest centroid."""

    num_clusters: int
    iterations: int = 50
    restarts: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse counts below one."""
        for name in ("num_clusters", "iterations", "restarts"):
            if getattr(self, name) < 1:
                raise ValueError(f"kmeans wants {name} >= 1, got {getattr(self, name)}; raise it")

    def divide(self, space: Space) -> Division:
        """The best of `restarts` runs from different starts."""
        import faiss

        num_train = int(space.train.sum())
        if self.num_clusters > num_train:
            raise ValueError(
                f"num_clusters: wanted at most {num_train} (training images), got "
                f"{self.num_clusters}; lower it"
            )
        faiss.omp_set_num_threads(1)
        kmeans = faiss.Kmeans(
            space.features.shape[1],
            self.num_clusters,
            niter=self.iterations,
            nredo=self.restarts,
            seed=seeds.integer(space.root, "partition", self.seed),
            min_points_per_centroid=1,
            max_points_per_centroid=num_train,
        )
        kmeans.train(np.ascontiguousarray(space.features[space.train]))
        return kmeans.index.search(space.features, 1)[1][:, 0], kmeans.centroids


@dataclass(frozen=True)
class Random:
    """Clusters drawn at random with the sizes of the partition `like`, split by split."""

    like: str
    seed: int = 0

    def divide(self, space: Space) -> Division:
        """Permute the other partition's clusters within train and within held-out."""
        clusters = space.like.copy()
        rng = seeds.stream(space.root, "partition", self.seed)
        for rows in (np.flatnonzero(space.train), np.flatnonzero(~space.train)):
            clusters[rows] = rng.permutation(clusters[rows])
        return clusters, None


@dataclass(frozen=True)
class Labels:
    """One cluster per label, in the order of the labels; `num_clusters` must be their number."""

    num_clusters: int

    def divide(self, space: Space) -> Division:
        """The rank of each sample's label."""
        names, clusters = np.unique(space.labels, return_inverse=True)
        if len(names) != self.num_clusters:
            raise ValueError(
                f"num_clusters: wanted {len(names)} (labels in the data), got "
                f"{self.num_clusters}; correct it"
            )
        return clusters, None


@dataclass(frozen=True)
class Components:
    """Whole components of a mixture: component c is in cluster `clusters[c]`."""

    num_clusters: int
    clusters: tuple[int, ...]

    def divide(self, space: Space) -> Division:
        """The cluster of each sample's component."""
        if space.components is None:
            raise ValueError(
                "clusters: wanted data.source 'mixture', got a source without components; take "
                "another method"
            )
        num = space.components.max() + 1
        if len(self.clusters) != num or set(self.clusters) != set(range(self.num_clusters)):
            raise ValueError(
                f"clusters: wanted {num} (components), each of 0..{self.num_clusters - 1} at "
                f"least once, got {list(self.clusters)}; correct it"
            )
        return np.asarray(self.clusters)[space.components], None


METHODS = {"kmeans": KMeans, "random": Random, "labels": Labels, "components": Components}


def run(job) -> None:
    """Write `assignments` (sample_id, cluster, distance to every centroid) and `centroids`.

    Beside the centroids stand the sizes of the clusters and how many images of every label they
    hold, both of the train split.
    """
    index = job.table("index")
    where = f"partitions.{job.spec['partition']}"
    method = choices.build(choices.rows("partitions", METHODS), job.spec["method"], where)
    features = job.arrays("features")["features"]
    train = (index["split"] == "train").to_numpy()
    like = job.table("like")["cluster"].to_numpy() if job.count("like") else None
    components = index["component"].to_numpy() if "component" in index else None
    labels = index["label"].to_numpy()
    space = Space(features, labels, train, job.spec["seed"], like, components)
    try:
        clusters, centroids = method.divide(space)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None
    clusters = clusters.astype(np.int64)
    sizes = np.bincount(clusters[train], minlength=job.spec["num_clusters"])
    refuse_empty(sizes, where)
    if centroids is None:
        centroids = np.stack(
            [features[train & (clusters == k)].mean(0) for k in range(len(sizes))]
        )
    distances = np.linalg.norm(features[:, None] - centroids[None], axis=-1)
    table = pd.DataFrame({"sample_id": index["sample_id"], "cluster": clusters})
    for k in range(len(sizes)):
        table[f"distance_{k}"] = distances[:, k]
    job.write_table("assignments", table)
    counts = label_counts(clusters[train], labels[train], len(sizes))
    arrays = {"centroids": centroids, "sizes": sizes, "label_counts": counts}
    job.write_arrays("centroids", arrays)


def label_counts(clusters: np.ndarray, labels: np.ndarray, num_clusters: int) -> np.ndarray:
    """Images [clusters, labels] of every cluster and label, in the order of the labels."""
    names, rank = np.unique(labels, return_inverse=True)
    table = np.zeros((num_clusters, len(names)), np.int64)
    np.add.at(table, (clusters, rank), 1)
    return table


def refuse_empty(sizes: np.ndarray, where: str) -> None:
    """Raise ValueError if a cluster has no training image."""
    empty = np.flatnonzero(sizes == 0).tolist()
    if empty:
        raise ValueError(
            f"{where}: wanted every cluster to hold a training image, got none in cluster "
            f"{', '.join(map(str, empty))} of {len(sizes)}; lower num_clusters or change the seed"
        )
