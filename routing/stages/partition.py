"""Stage partition: assign every image to one of K clusters.

A method of `routing.partitions` fits an assignment rule on a sample of the training images. The
rule then assigns every image, held-out ones included, block by block over the shards, so that
memory holds one row of the index per image and no more. The monolith is the partition with one
cluster (k-means with num_clusters 1).

Features are read twice. If the rule has no centroids, they are the means of the training images of
each cluster, and the distances to them are computed in the second pass.
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
from routing.partitions.registry import METHODS
from routing.workflow import choices, seeds

INDEX_COLUMNS = ["sample_id", "split", "label", "shard", "row"]
NUM_SILHOUETTES = 2000  # training images, whose pairwise distances are computed


def run(job) -> None:
    """Write `assignments`, `centroids` and `report`.

    assignments  sample_id, cluster, second (where clusters overlap), distance_k to centroid k
    centroids    centroids, sizes (training images of each cluster), label_counts [clusters,
                 labels] of them, and the other arrays that the rule needs to assign new images
    report       quantity, cluster (-1: all clusters), value; see `report`
    """
    where = f"partitions.{job.spec['partition']}"
    method = choices.build(choices.with_plugins("partitions", METHODS), job.spec["method"], where)
    # Other columns are not read: of 10 million images, captions take most of the memory.
    index = job.table("index", columns=None if isinstance(method, Components) else INDEX_COLUMNS)
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
        "assignments", assignment_blocks(partition, features, ids, inputs.is_train, squares)
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
    """The clusters of all images, with sizes and centroids."""

    clusters: np.ndarray  # [images, memberships]
    sizes: np.ndarray  # [clusters], training images; one in two clusters counts in both
    centroids: np.ndarray  # [clusters, dim] float32


def assign_all(
    rule: AssignmentRule, features: Shards, inputs: PartitionInputs, num_clusters: int, where: str
) -> Partition:
    """Return the clusters of all images. Raises ValueError if one has no training image."""
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
    check_not_empty(sizes, where)
    centroids = sums / sizes[:, None] if rule.centroids is None else rule.centroids
    return Partition(clusters, sizes, centroids.astype(np.float32))


def assignment_blocks(
    partition: Partition, features: Shards, ids: np.ndarray, train: np.ndarray, squares: np.ndarray
) -> Iterator[pd.DataFrame]:
    """Yield the table of assignments, block by block.

    Adds to squares[k] the squared distances of the training images of cluster k to its centroid.
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
    """Return the number of training images [clusters, labels], in the order of the labels.

    Labels of held-out images alone are left out.
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
    """Return the quality of the partition as a long table: quantity, cluster, value.

    cluster k    size_ and prior_ of train and heldout; within (mean squared distance to the
                 centroid), inertia (their sum), between_min, between_mean, silhouette, purity
    cluster -1   size_ratio_, evenness_ and gini_ of train, heldout and all; within, inertia,
                 between_min, between_mean, silhouette, purity, nmi (with the labels)

    within, inertia, purity and nmi are over the training images, silhouettes over a sample of
    them. An image in two clusters counts in both; its silhouette is that of the nearest one.
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
    # A child generator: the sample does not depend on the numbers that the method has drawn.
    rng = inputs.rng.spawn(1)[0]
    train = np.flatnonzero(inputs.is_train)
    chosen = np.sort(rng.permutation(train)[:NUM_SILHOUETTES])
    clusters = partition.clusters[chosen, 0]
    values = silhouettes(features.take(chosen), clusters)
    if values is None:
        return
    num = len(partition.sizes)
    with np.errstate(invalid="ignore"):  # nan for a cluster without an image in the sample
        of_each = np.bincount(clusters, values, num) / np.bincount(clusters, minlength=num)
    each("silhouette", of_each)
    whole("silhouette", values.mean())


def check_not_empty(sizes: np.ndarray, where: str) -> None:
    """Raise ValueError if a cluster has no training image."""
    empty = np.flatnonzero(sizes == 0).tolist()
    if empty:
        raise ValueError(
            f"{where}: wanted every cluster to hold a training image, got none in cluster "
            f"{', '.join(map(str, empty))} of {len(sizes)}; lower num_clusters or change the seed"
        )
