"""Stage reference_statistics: what the metrics of one space know of the real images, fitted once.

Moments are of all training images, a block at a time. Pairs of images (kernels, neighbours) are
made with `num_references` of them, drawn once by a seeded stream; null is all. `heldout` are real
images that nobody was trained on, in the layout of an arm's features: what a perfect generator of
that many images would score.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from routing.data import heldout
from routing.data.shards import Shards
from routing.metrics.formulas.input_checks import prefix_errors
from routing.metrics.protocol import stored_fields
from routing.metrics.table import METRICS, ReferenceSamples
from routing.workflow import choices, seeds
from routing.workflow.progress import progress_bar

BLOCK = 4096  # rows


def run(job) -> None:
    """Write `references` (by metric; points; shares of classes and clusters) and `heldout`."""
    spec = job.spec
    index = job.table("index", columns=["split", "label", "shard", "row"])
    train = np.flatnonzero(index["split"] == "train")
    rows = drawn(train, spec["num_references"], spec["seed"])
    kept = heldout.rows(
        index["split"].to_numpy(), spec["seed"], spec["num_blocks"], spec["num_samples"]
    )
    names, labels = np.unique(index["label"], return_inverse=True)
    clusters = nearest(job.table("assignments"))
    features = Shards(job, "real", index, "features")

    def blocks() -> Iterator[Tensor]:
        for first in range(0, len(train), BLOCK):
            yield finite(features.take(train[first : first + BLOCK]), job)

    points = finite(features.take(rows), job)
    unseen = {"features": finite(features.take(kept), job).numpy()}
    for extra in sorted({"logits", "inception_logits"} & job.mapped("real").keys()):
        unseen[extra] = Shards(job, "real", index, extra).take(kept)
    unseen |= {"requested": labels[kept][:, None], "prompts": kept[:, None]}
    num_clusters = spec["num_clusters"]
    real = ReferenceSamples(
        points=points,
        clusters=torch.from_numpy(clusters[rows]),
        num_clusters=num_clusters,
        heldout=torch.from_numpy(unseen["features"]),
        blocks=blocks,
    )
    arrays = {
        "points": points.numpy(),
        "point_clusters": clusters[rows],
        "class_shares": shares_of(labels[train], len(names)),
        "cluster_shares": shares_of(clusters[train], num_clusters),
    }
    arrays |= fitted(spec["list"], real, spec["feature_space"])
    note = {
        "feature_space": job.metadata("real")["feature_space"],
        "class_names": [str(n) for n in names],
    }
    job.write_arrays("references", arrays, num_train=len(train), **note)
    job.write_arrays("heldout", unseen, feature_space=note["feature_space"])


def table() -> dict[str, type]:
    """The metrics there are."""
    return choices.with_plugins("metrics", METRICS)


def drawn(train: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """All of `train`, or `most` of it by a seeded stream; in order either way."""
    if most is None or len(train) <= most:
        return train
    rng = seeds.stream(seed, "references")
    return np.sort(rng.choice(train, most, replace=False))


def nearest(assignments: pd.DataFrame) -> np.ndarray:
    """The nearest centroid of every image, as of samples: a partition may divide otherwise."""
    return assignments.filter(like="distance_").to_numpy().argmin(1).astype(np.int64)


def shares_of(labels: np.ndarray, num: int) -> np.ndarray:
    """Share of each of `num` categories."""
    return np.bincount(labels, minlength=num) / len(labels)


def fitted(
    metrics: list[dict[str, Any]], real: ReferenceSamples, space: str
) -> dict[str, np.ndarray]:
    """The parts of every reference, `<key>/<field>`; metrics of one key share it."""
    wanted = {}
    for choice in metrics:
        measure = choices.build(table(), choice, "metrics.list")
        if measure.reference_type:
            wanted[measure.reference_key()] = choice["name"], measure
    arrays = {}
    for key, (name, measure) in progress_bar("references", len(wanted), wanted.items()):
        with prefix_errors(f"space {space!r}, metric {name!r}"):
            reference = measure.fit(real)
        for name, part in stored_fields(reference).items():
            arrays[f"{key}/{name}"] = np.asarray(part)
    return arrays


def finite(features: np.ndarray, job: Any) -> Tensor:
    """The features as a tensor; ValueError if some are nan or inf."""
    if bad := int((~np.isfinite(features)).any(1).sum()):
        raise ValueError(
            f"{job.inputs['real'][0]}: wanted finite features, got nan or inf in {bad} of "
            f"{len(features)} rows; find out what made them"
        )
    return torch.from_numpy(features)
