"""Stage partition: a division of the training images into K clusters.

One code path for all methods of routing/partitions, and a memory that does not grow with the
images but for a row of the index: a method fits on a sample of the train split, its rule assigns
every image, the held-out ones too, block by block over the shards. The monolith is k-means with
one cluster. Features are read twice: centroids that a rule does not bring are the means of the
clusters' training images, and distances to them can be written only then.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from routing.data.shards import Shards
from routing.partitions.agreement import normalised_mutual_information, purity
from routing.partitions.base import AssignmentRule, PartitionInputs, count_memberships
from routing.partitions.components import Components
from routing.partitions.membership import memberships
from routing.partitions.quality import imbalance, separation, silhouettes
from routing.partitions.table import METHODS
from routing.workflow import choices, seeds

COLUMNS = ["sample_id", "split", "label", "shard", "row"]
SILHOUETTES = 2000  # training images; their distances are all taken in pairs


def run(job) -> None:
    """Write `assignments`, `centroids` and `report`.

    assignments  sample_id, cluster, second where clusters overlap, distance_k to every centroid
    centroids    centroids, sizes (memberships of the train split), label_counts [clusters,
                 labels] of them, and what the rule needs beside to assign again
    report       quantity, cluster (-1: of the whole), value; see `report`
    """
    where = f"partitions.{job.spec['partition']}"
    method = choices.build(choices.with_plugins("partitions", METHODS), job.spec["method"], where)
    # Captions and the like are not read: at 10 million images they are the larger part.
    index = job.table("index", columns=None if isinstance(method, Components) else COLUMNS)
    features = Shards(job, "features", index, "features")
    stream = (job.spec["seed"], "partition", getattr(method, "seed", 0))
    inputs = PartitionInputs(
        labels=index["label"].to_numpy(),
        is_train=(index["split"] == "train").to_numpy(),
        features_at=features.take,
        rng=seeds.stream(*stream),
        faiss_seed=seeds.integer(*stream),
        like=memberships(job.table("like")) if job.count("like") else None,
        components=index["component"].to_numpy() if "component" in index else None,
    )
    try:
        rule = method.fit(inputs)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from None
    partition = assign_all(rule, features, inputs, job.spec["num_clusters"], where)
    squares = np.zeros(len(partition.sizes))
    ids = index["sample_id"].to_numpy()
    job.write_table_blocks(
        "assignments", frames(partition, features, ids, inputs.is_train, squares)
    )
    arrays = {
        "centroids": partition.centroids,
        "sizes": partition.sizes,
        "label_counts": label_counts(partition, inputs),
    }
    job.write_arrays("centroids", arrays | rule.arrays)
    job.write_table("report", report(partition, squares, arrays["label_counts"], features, inputs))


@dataclass(frozen=True)
class Partition:
    """All images, divided."""

    clusters: np.ndarray  # [samples, memberships]
    sizes: np.ndarray  # [clusters] memberships of the train split
    centroids: np.ndarray  # [clusters, dim] float32


def assign_all(
    rule: AssignmentRule, features: Shards, inputs: PartitionInputs, num_clusters: int, where: str
) -> Partition:
    """The clusters of all images; ValueError if one has no training image."""
    blocks = []
    sums = np.zeros((num_clusters, *features.shape))
    for here, x in features.blocks():
        found = rule(x, np.arange(here.start, here.stop)).astype(np.int64)
        train = inputs.is_train[here]
        for k in range(num_clusters):
            sums[k] += x[train & (found == k).any(axis=1)].sum(axis=0, dtype=np.float64)
        blocks.append(found)
    clusters = np.concatenate(blocks)
    sizes = count_memberships(clusters[inputs.is_train], num_clusters)
    refuse_empty(sizes, where)
    centroids = sums / sizes[:, None] if rule.centroids is None else rule.centroids
    return Partition(clusters, sizes, centroids.astype(np.float32))


def frames(
    partition: Partition, features: Shards, ids: np.ndarray, train: np.ndarray, squares: np.ndarray
) -> Iterator[pd.DataFrame]:
    """Assignments, a frame per block.

    To squares[k] it adds the squared distances of the training images of k to their centroid.
    """
    for here, x in features.blocks():
        clusters = partition.clusters[here]
        distances = np.stack([np.linalg.norm(x - c, axis=1) for c in partition.centroids], axis=1)
        own = np.take_along_axis(distances, clusters, axis=1).astype(np.float64) ** 2
        np.add.at(squares, clusters[train[here]], own[train[here]])
        columns = dict(zip(("cluster", "second"), clusters.T, strict=False))
        columns |= {f"distance_{k}": distances[:, k] for k in range(distances.shape[1])}
        yield pd.DataFrame({"sample_id": ids[here]} | columns)


def label_counts(partition: Partition, inputs: PartitionInputs) -> np.ndarray:
    """Training images [clusters, labels] of every cluster and label, in the order of the labels.

    Labels that only held-out images have are not in it.
    """
    names, rank = np.unique(inputs.labels[inputs.is_train], return_inverse=True)
    table = np.zeros((len(partition.sizes), len(names)), np.int64)
    np.add.at(table, (partition.clusters[inputs.is_train], rank[:, None]), 1)
    return table


def report(
    partition: Partition,
    squares: np.ndarray,
    label_table: np.ndarray,
    features: Shards,
    inputs: PartitionInputs,
) -> pd.DataFrame:
    """Long: quantity, cluster, value. An image in two clusters counts in both.

    per cluster  size_, prior_ of train and heldout; within (mean squared distance to the
                 centroid), inertia (their sum), between_min, between_mean, silhouette, purity
    whole        size_ratio_, evenness_, gini_ of train, heldout and all; within, inertia,
                 between_min, between_mean, silhouette, purity, nmi (with the labels)

    within, inertia, purity and nmi are of the train split; silhouettes of a sample of it, by
    the nearest cluster.
    """
    num, rows = len(partition.sizes), []

    def each(quantity: str, values: np.ndarray) -> None:
        rows.extend((quantity, k, float(v)) for k, v in enumerate(values))

    def whole(quantity: str, value: float) -> None:
        rows.append((quantity, -1, float(value)))

    heldout = count_memberships(partition.clusters[~inputs.is_train], num)
    for split, sizes in {"train": partition.sizes, "heldout": heldout}.items():
        each(f"size_{split}", sizes)
        if sizes.any():
            each(f"prior_{split}", sizes / sizes.sum())
    for split, sizes in {
        "train": partition.sizes,
        "heldout": heldout,
        "all": partition.sizes + heldout,
    }.items():
        for name, value in imbalance(sizes).items() if sizes.any() else ():
            whole(f"{name}_{split}", value)
    each("within", squares / partition.sizes)
    whole("within", squares.sum() / partition.sizes.sum())
    each("inertia", squares)
    whole("inertia", squares.sum())
    for name, values in separation(partition.centroids).items():
        each(name, values)
        whole(name, values.min() if name == "between_min" else values.mean())
    _silhouette(partition, features, inputs, each, whole)
    each("purity", label_table.max(axis=1) / label_table.sum(axis=1))
    whole("purity", purity(label_table))
    whole("nmi", normalised_mutual_information(label_table))
    return pd.DataFrame(rows, columns=["quantity", "cluster", "value"])


def _silhouette(
    partition: Partition, features: Shards, inputs: PartitionInputs, each, whole
) -> None:
    # A stream of its own: what a method has drawn does not choose who is looked at.
    rng = inputs.rng.spawn(1)[0]
    train = np.flatnonzero(inputs.is_train)
    chosen = np.sort(rng.permutation(train)[:SILHOUETTES])
    clusters = partition.clusters[chosen, 0]
    values = silhouettes(features.take(chosen), clusters)
    if values is None:
        return
    num = len(partition.sizes)
    with np.errstate(invalid="ignore"):  # a small cluster may have nobody in the sample: nan
        of_each = np.bincount(clusters, values, num) / np.bincount(clusters, minlength=num)
    each("silhouette", of_each)
    whole("silhouette", values.mean())


def refuse_empty(sizes: np.ndarray, where: str) -> None:
    """Raise ValueError if a cluster has no training image."""
    empty = np.flatnonzero(sizes == 0).tolist()
    if empty:
        raise ValueError(
            f"{where}: wanted every cluster to hold a training image, got none in cluster "
            f"{', '.join(map(str, empty))} of {len(sizes)}; lower num_clusters or change the seed"
        )
