"""Stage data: a source becomes shards of samples and one index.

The index has a row per sample: sample_id, split (train / heldout), label, caption, licence,
source_id, shard, row. The held-out split is drawn per label, so that both splits have the same
mixture; no expert, router, encoder or extractor is ever fitted on it. To add a source, write a
frozen dataclass with `load(root) -> Samples` and give it a row in SOURCES.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from routing import choices, seeds


@dataclass(frozen=True)
class Samples:
    """What a source yields: stored samples, labels and what must be known about them."""

    stored: np.ndarray  # [samples, channels, height, width] integers or [samples, dim] points
    labels: np.ndarray  # [samples]
    captions: list[str]
    source_ids: list[str]
    levels: int | None  # the largest stored value; None for points
    licence: str
    visibility: str = "public"
    components: np.ndarray | None = None  # [samples], in a world of components


@dataclass(frozen=True)
class Digits:
    """scikit-learn's handwritten digits: 1,797 grey images of 8 x 8, values 0..16."""

    def load(self, root: int) -> Samples:
        """Read the images that come with scikit-learn (UCI, Alpaydin and Kaynak 1998)."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Samples(
            stored=digits.images.astype(np.uint8)[:, None],
            labels=digits.target.astype(np.int64),
            captions=[f"a handwritten digit {d}" for d in digits.target],
            source_ids=[f"digits/{i}" for i in range(len(digits.target))],
            levels=16,
            licence="CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)",
        )


@dataclass(frozen=True)
class MixtureSource:
    """Points of a Gaussian mixture in the plane, with exact component counts.

    Component c has weight `weights[c]`, mean `means[c]`, the isotropic standard deviation
    `stds[c]` and the label `labels[c]`; without labels every component is its own.
    """

    weights: tuple[float, ...]
    means: tuple[tuple[float, float], ...]
    stds: tuple[float, ...]
    num_points: int = 4000
    labels: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse lists of different lengths and components that are none."""
        if not len(self.weights) == len(self.means) == len(self.stds):
            raise ValueError(
                f"mixture wants as many weights as means and stds, got {len(self.weights)}, "
                f"{len(self.means)} and {len(self.stds)}; give one of each per component"
            )
        if self.labels is not None and len(self.labels) != len(self.weights):
            raise ValueError(
                f"mixture wants as many labels as weights, got {len(self.labels)} and "
                f"{len(self.weights)}; give one per component or leave them out"
            )
        if not (self.weights and min(self.weights) > 0 and min(self.stds) > 0):
            raise ValueError(
                f"mixture wants components with weights and stds > 0, got weights "
                f"{list(self.weights)} and stds {list(self.stds)}; leave empty components out"
            )

    def load(self, root: int) -> Samples:
        """Draw the points from the stream `world`."""
        shares = np.asarray(self.weights) / sum(self.weights) * self.num_points
        counts = np.floor(shares).astype(int)
        counts[np.argsort(counts - shares, kind="stable")[: self.num_points - counts.sum()]] += 1
        own = np.repeat(np.arange(len(counts)), counts)
        noise = seeds.stream(root, "world").standard_normal((self.num_points, 2))
        points = np.asarray(self.means)[own] + np.asarray(self.stds)[own, None] * noise
        labels = own if self.labels is None else np.asarray(self.labels)[own]
        return Samples(
            stored=points.astype(np.float32),
            labels=labels,
            captions=[f"label {label}" for label in labels],
            source_ids=[f"mixture/{i}" for i in range(self.num_points)],
            levels=None,
            licence="CC0 1.0 (generated)",
            components=own,
        )


SOURCES = {"digits": Digits, "mixture": MixtureSource}


def run(job) -> None:
    """Write `samples` (safetensors) and `index` (Parquet)."""
    source = choices.build(choices.rows("sources", SOURCES), job.spec["source"], "data.source")
    samples = source.load(job.spec["seed"])
    split = split_by_label(samples.labels, job.spec["heldout"], job.spec["seed"])
    num = len(samples.labels)
    index = pd.DataFrame(
        {
            "sample_id": np.arange(num),
            "split": split,
            "label": samples.labels,
            "caption": samples.captions,
            "licence": samples.licence,
            "source_id": samples.source_ids,
            "shard": 0,
            "row": np.arange(num),
        }
    )
    if samples.components is not None:
        index["component"] = samples.components
    origin = {"licence": [samples.licence], "visibility": samples.visibility}
    world = job.spec["source"] if isinstance(source, MixtureSource) else None
    job.write_arrays(
        "samples", {"samples": samples.stored}, levels=samples.levels, world=world, **origin
    )
    job.write_table("index", index, **origin)


def split_by_label(labels: np.ndarray, heldout: float, root: int) -> np.ndarray:
    """ "train" or "heldout" for each label; the nearest whole share of every label is held out."""
    split = np.full(len(labels), "train", dtype=object)
    rng = seeds.stream(root, "split")
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        split[rows[: math.floor(heldout * len(rows) + 0.5)]] = "heldout"
    if "heldout" not in split or "train" not in split:
        raise ValueError(
            f"data.heldout: wanted a share that leaves both splits some images, got {heldout} of "
            f"{len(labels)}; change it"
        )
    return split
