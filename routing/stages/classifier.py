"""Stage classifier: train a small classifier of the labels, whose features metrics may use.

It is trained on the train split with small random shifts and smoothed labels. Its features are the
penultimate units. Metrics in this feature space have the name of the classifier (`fd_digits`), not
that of a published metric.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing.data import shards
from routing.data.shards import Shards
from routing.networks.classifier import Classifier, ClassifierShape, logits_and_features
from routing.training.loop import TrainingId, train
from routing.training.schedule import Schedule
from routing.workflow import choices, code_digest, devices, seeds


@dataclass(frozen=True)
class TrainedClassifier:
    """A convolutional classifier of the labels; its features are the `dim` penultimate units."""

    steps: int = 600
    batch_size: int = 128
    width: int = 32
    dim: int = 64
    learning_rate: float = 2.0e-3
    shift_pixels: int = 1
    seed: int = 0


BATCH_SIZE = 500  # images in one forward pass
CLASSIFIERS = {"classifier": TrainedClassifier}


def run(job) -> None:
    """Write `weights`, the `loss` curve and the `report`: accuracy on the held-out images."""
    spec = job.spec
    where = f"classifiers.{spec['classifier_name']}"
    kind = choices.build(
        choices.with_plugins("classifiers", CLASSIFIERS), spec["classifier"], where
    )
    index = job.table("index")
    values = shards.values(job, index)
    if len(values.shape) != 3 or values.shape[1] != values.shape[2]:
        raise ValueError(
            f"{where}: a classifier wants square images [channels, size, size], got samples of "
            f"shape {list(values.shape)}; use an encoder as the feature space instead"
        )
    names, labels = np.unique(index["label"], return_inverse=True)
    is_train = (index["split"] == "train").to_numpy()
    shape = ClassifierShape(values.shape[0], values.shape[1], kind.width, kind.dim, len(names))
    target = torch.from_numpy(labels)
    device = devices.use_best_device(job)
    weights, curve = fit(kind, shape, values, np.flatnonzero(is_train), target, device, job)
    net = Classifier.from_arrays(shape, weights).to(device)
    is_correct = []
    for rows in np.array_split(np.flatnonzero(~is_train), -(-(~is_train).sum() // BATCH_SIZE)):
        x = devices.to_device(torch.from_numpy(values.take(rows)), device)
        predicted = devices.to_device(logits_and_features(net, x)[0].argmax(1), devices.CPU)
        is_correct.append((predicted == target[rows]).double())
    is_correct = torch.cat(is_correct)
    report = pd.DataFrame(
        {"accuracy": [is_correct.mean().item()], "num_images": [len(is_correct)]}
    )
    job.write_arrays("weights", weights, model=shape.metadata(), labels=names.tolist())
    job.write_table("loss", curve)
    job.write_table("report", report)


def fit(
    kind: TrainedClassifier,
    shape: ClassifierShape,
    values: Shards,
    train_rows: np.ndarray,
    target: Tensor,
    device: torch.device,
    job,
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Train on the images `values[train_rows]`, whose class indices are `target[train_rows]`.

    Returns the weights and the loss curve.
    """
    # "extractor" is a key of the random streams: another word would change all numbers.
    identity = (seeds.name_to_int("extractor"), kind.seed)
    torch.manual_seed(seeds.integer(job.spec["seed"], "initial_weights", *identity))

    def loss(net: nn.Module, rng: np.random.Generator) -> Tensor:
        rows = train_rows[rng.integers(len(train_rows), size=kind.batch_size)]
        x, y = devices.to_device((torch.from_numpy(values.take(rows)), target[rows]), device)
        x = random_shift(x, kind.shift_pixels, rng)
        return F.cross_entropy(net(x)[0], y, label_smoothing=0.1)

    schedule = Schedule(kind.steps, kind.batch_size, kind.learning_rate, weight_decay=0.01)
    who = TrainingId(f"classifier {job.spec['classifier_name']}", job.spec["seed"], identity)
    key = {
        "spec": job.spec,
        "inputs": job.digests(),
        "code": code_digest.stage_digest("classifier"),
    }
    state = job.unfinished("weights")
    return train(Classifier(shape).to(device), loss, schedule, who, state, key)


def random_shift(x: Tensor, pixels: int, rng: np.random.Generator) -> Tensor:
    """Return images moved by up to `pixels` along both axes; the border is background (-1)."""
    size = x.shape[-1]
    padded = F.pad(x, [pixels] * 4, value=-1.0)
    drawn = torch.from_numpy(rng.integers(2 * pixels + 1, size=(2, len(x))))
    moves, span = devices.to_device(drawn, x.device), torch.arange(size, device=x.device)
    rows, columns = moves[0][:, None] + span, moves[1][:, None] + span
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None]].permute(
        0, 3, 1, 2
    )
