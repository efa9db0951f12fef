"""Stage extractor: a small classifier of the data's labels, the feature extractor of a run.

Trained on the train split with small random shifts and smoothed labels; its features are the
penultimate units. Distances in this space carry the extractor's name (`fd_digits`), never the
name of a metric of another space.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import choices, code, images, seeds
from routing.classifier import Classifier, ClassifierShape, logits_and_features
from routing.training import Identity, Schedule, train


@dataclass(frozen=True)
class TrainedClassifier:
    """A convolutional classifier of the labels; features are its `dim` penultimate units."""

    steps: int = 600
    batch_size: int = 128
    width: int = 32
    dim: int = 64
    learning_rate: float = 2.0e-3
    shift_pixels: int = 1
    seed: int = 0


EXTRACTORS = {"classifier": TrainedClassifier}


def run(job) -> None:
    """Write `weights`, the `loss` curve and the held-out `report` (accuracy)."""
    spec = job.spec
    where = f"extractors.{spec['extractor_name']}"
    kind = choices.build(choices.rows("extractors", EXTRACTORS), spec["extractor"], where)
    index, notes = job.table("index"), job.notes("samples")
    values = torch.from_numpy(images.to_values(job.arrays("samples")["samples"], notes["levels"]))
    if values.ndim != 4 or values.shape[2] != values.shape[3]:
        raise ValueError(
            f"{where}: a classifier wants square images [channels, size, size], got samples of "
            f"shape {list(values.shape[1:])}; compare in an encoder's space instead"
        )
    names, labels = np.unique(index["label"], return_inverse=True)
    is_train = torch.tensor((index["split"] == "train").to_numpy())
    shape = ClassifierShape(values.shape[1], values.shape[2], kind.width, kind.dim, len(names))
    target = torch.from_numpy(labels)
    weights, curve = fit(kind, shape, values[is_train], target[is_train], job)
    net = Classifier.from_arrays(shape, weights)
    logits, _ = logits_and_features(net, values[~is_train])
    right = (logits.argmax(1) == target[~is_train]).double()
    report = pd.DataFrame({"accuracy": [right.mean().item()], "num_images": [len(right)]})
    job.write_arrays("weights", weights, model=shape.note(), labels=names.tolist())
    job.write_table("loss", curve)
    job.write_table("report", report)


def fit(
    kind: TrainedClassifier, shape: ClassifierShape, values: Tensor, target: Tensor, job
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Train on `values` [images, channels, size, size] with class indices `target`."""
    identity = (seeds.number("extractor"), kind.seed)
    torch.manual_seed(seeds.integer(job.spec["seed"], "initial_weights", *identity))

    def loss(net: nn.Module, rng: np.random.Generator) -> Tensor:
        rows = torch.from_numpy(rng.integers(len(values), size=kind.batch_size))
        x = shifted(values[rows], kind.shift_pixels, rng)
        return F.cross_entropy(net(x)[0], target[rows], label_smoothing=0.1)

    schedule = Schedule(kind.steps, kind.batch_size, kind.learning_rate, weight_decay=0.01)
    who = Identity(f"extractor {job.spec['extractor_name']}", job.spec["seed"], identity)
    key = {"spec": job.spec, "inputs": job.digests(), "code": code.code_digest("extractor")}
    state = job.unfinished("weights")
    return train(Classifier(shape), loss, schedule, who, state, key)


def shifted(x: Tensor, pixels: int, rng: np.random.Generator) -> Tensor:
    """Each image moved by up to `pixels` in both directions, the border filled with background."""
    size = x.shape[-1]
    padded = F.pad(x, [pixels] * 4, value=-1.0)
    moves = torch.from_numpy(rng.integers(2 * pixels + 1, size=(2, len(x))))
    span = torch.arange(size)
    rows, columns = moves[0][:, None] + span, moves[1][:, None] + span
    batch = torch.arange(len(x))[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None]].permute(
        0, 3, 1, 2
    )
