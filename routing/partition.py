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


METHODS = {"kmeans": KMeans, "random": Random, "labels": Labels}


def run(job) -> None:
    """Write `assignments` (sample_id, cluster, distance to every centroid) and `centroids`."""
    index = job.table("index")
    where = f"partitions.{job.spec['partition']}"
    method = choices.build(choices.rows("partitions", METHODS), job.spec["method"], where)
    features = job.arrays("features")["features"]
    train = (index["split"] == "train").to_numpy()
    like = job.table("like")["cluster"].to_numpy() if job.count("like") else None
    space = Space(features, index["label"].to_numpy(), train, job.spec["seed"], like)
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
    job.write_arrays("centroids", {"centroids": centroids, "sizes": sizes})


def refuse_empty(sizes: np.ndarray, where: str) -> None:
    """Raise ValueError if a cluster has no training image."""
    empty = np.flatnonzero(sizes == 0).tolist()
    if empty:
        raise ValueError(
            f"{where}: wanted every cluster to hold a training image, got none in cluster "
            f"{', '.join(map(str, empty))} of {len(sizes)}; lower num_clusters or change the seed"
        )
