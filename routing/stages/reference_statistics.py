"""Stage reference_statistics: what the metrics of one feature space need of the real images.

Each metric is fitted once. Moments are of all training images, one block at a time. Metrics of
pairs of images (kernels, neighbours) use `num_references` training images, a random subset that is
the same in all feature spaces; null is all of them. `heldout` has the features of the held-out
real images in the layout of an arm's features: the metrics of a perfect generator.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from routing.data import heldout_arm
from routing.data.shards import Shards
from routing.metrics.formulas.input_checks import prefix_errors
from routing.metrics.protocol import ReferenceSamples, stored_fields
from routing.metrics.registry import METRICS
from routing.workflow import choices, seeds
from routing.workflow.progress import progress_bar

BLOCK = 4096  # rows


def run(job) -> None:
    """Write `references` (by metric; points; shares of classes and clusters) and `heldout`."""
    spec = job.spec
    index = job.table("index", columns=["split", "label", "shard", "row"])
    train = np.flatnonzero(index["split"] == "train")
    points_rows = random_subset(train, spec["num_references"], spec["seed"])
    heldout_rows = heldout_arm.rows(
        index["split"].to_numpy(), spec["seed"], spec["num_blocks"], spec["num_samples"]
    )
    names, labels = np.unique(index["label"], return_inverse=True)
    clusters = nearest_clusters(job.table("assignments"))
    features = Shards(job, "real", index, "features")

    def blocks() -> Iterator[Tensor]:
        for first in range(0, len(train), BLOCK):
            yield finite_tensor(features.take(train[first : first + BLOCK]), job)

    points = finite_tensor(features.take(points_rows), job)
    unseen = {"features": finite_tensor(features.take(heldout_rows), job).numpy()}
    for name in sorted({"logits", "inception_logits"} & job.mapped("real").keys()):
        unseen[name] = Shards(job, "real", index, name).take(heldout_rows)
    unseen |= {"requested": labels[heldout_rows][:, None], "prompts": heldout_rows[:, None]}
    num_clusters = spec["num_clusters"]
    real = ReferenceSamples(
        points=points,
        clusters=torch.from_numpy(clusters[points_rows]),
        num_clusters=num_clusters,
        heldout=torch.from_numpy(unseen["features"]),
        blocks=blocks,
    )
    arrays = {
        "points": points.numpy(),
        "point_clusters": clusters[points_rows],
        "class_shares": shares(labels[train], len(names)),
        "cluster_shares": shares(clusters[train], num_clusters),
    }
    arrays |= fit_metrics(spec["list"], real, spec["feature_space"])
    metadata = {
        "feature_space": job.metadata("real")["feature_space"],
        "class_names": [str(n) for n in names],
    }
    job.write_arrays("references", arrays, num_train=len(train), **metadata)
    job.write_arrays("heldout", unseen, feature_space=metadata["feature_space"])


def random_subset(train: np.ndarray, size: int | None, seed: int) -> np.ndarray:
    """Return `size` of the rows `train`, drawn from a seeded stream, in order; None is all."""
    if size is None or len(train) <= size:
        return train
    rng = seeds.stream(seed, "references")
    return np.sort(rng.choice(train, size, replace=False))


def nearest_clusters(assignments: pd.DataFrame) -> np.ndarray:
    """Return the index of the nearest centroid of every image, as for samples.

    It may differ from the image's cluster: not every partition assigns the nearest centroid.
    """
    return assignments.filter(like="distance_").to_numpy().argmin(1).astype(np.int64)


def shares(labels: np.ndarray, num: int) -> np.ndarray:
    """Return the share of each of `num` categories."""
    return np.bincount(labels, minlength=num) / len(labels)


def fit_metrics(
    metrics: list[dict[str, Any]], real: ReferenceSamples, space: str
) -> dict[str, np.ndarray]:
    """Return the fields of every reference as `<key>/<field>`; equal keys are fitted once."""
    table, to_fit = choices.with_plugins("metrics", METRICS), {}
    for choice in metrics:
        metric = choices.build(table, choice, "metrics.list")
        if metric.reference_type:
            to_fit[metric.reference_key()] = choice["name"], metric
    arrays = {}
    for key, (name, metric) in progress_bar("reference_statistics", len(to_fit), to_fit.items()):
        with prefix_errors(f"feature space {space!r}, metric {name!r}"):
            reference = metric.fit(real)
        for field, value in stored_fields(reference).items():
            arrays[f"{key}/{field}"] = np.asarray(value)
    return arrays


def finite_tensor(features: np.ndarray, job: Any) -> Tensor:
    """Return the features as a tensor. Raise ValueError if some are nan or inf."""
    if bad := int((~np.isfinite(features)).any(1).sum()):
        raise ValueError(
            f"{job.inputs['real'][0]}: wanted finite features, got nan or inf in {bad} of "
            f"{len(features)} rows; find out what made them"
        )
    return torch.from_numpy(features)
