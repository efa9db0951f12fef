"""Stage fit_encoder: the map from samples to features, fitted once on a sample of the train split.

Fitted on all training samples, in the order of the index, where there are no more than `max_fit`,
else on that many drawn without replacement by one seeded stream (the same for all encoders), in
the order of the index too. What is fitted is an artifact itself, since routers by distance and
cluster shares need the features of generated samples as well.

To add one, write a frozen dataclass with `max_fit` and `fit(sample) -> (arrays, note)` and a row
in ENCODERS; the note says which kind of `routing.encoders` applies the arrays.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from routing.data import shards
from routing.loading import fitted_encoders
from routing.pretrained import image_networks
from routing.workflow import choices, seeds
from routing.workflow.progress import Progress

Arrays = dict[str, np.ndarray]
Reads = Literal["images", "latents"]
WHOLE = 1 << 26  # values: so many are decomposed at once, more by their covariance


@dataclass(frozen=True)
class Sample:
    """The samples to fit on: positions `numbers` of `rows`, read when they are asked for."""

    rows: Any
    numbers: np.ndarray

    def __len__(self) -> int:
        """How many."""
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.rows.shape)

    @property
    def dim(self) -> int:
        """Values of one sample."""
        return int(np.prod(self.shape))

    def all(self) -> np.ndarray:
        """All of them."""
        return self.rows.take(self.numbers)

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """All of them, `size` at a time."""
        for first in range(0, len(self), size):
            yield self.rows.take(self.numbers[first : first + size])


@dataclass(frozen=True)
class PCA:
    """Whitened principal components of the values; `dim` of them.

    `reads` names what the values are: the images, or their latents.
    """

    dim: int = 32
    reads: Reads = "images"
    max_fit: int = 100_000

    def __post_init__(self) -> None:
        """Refuse an empty projection."""
        if self.dim < 1:
            raise ValueError(f"pca wants dim >= 1, got {self.dim}; raise it")
        _check_max_fit("pca", self.max_fit)

    def fit(self, sample: Sample) -> tuple[Arrays, dict[str, Any]]:
        """Mean and projection whose outputs have unit variance on `sample`."""
        most = min(len(sample), sample.dim)
        if self.dim > most:
            raise ValueError(f"pca wants dim <= {most} here, got {self.dim}; lower it")
        if len(sample) * sample.dim <= WHOLE:
            mean, directions, variances = decomposed(sample.all(), self.dim)
        else:
            mean, directions, variances = components(sample.blocks(1024), self.dim)
        scale = np.sqrt(variances)
        if not scale.min() > 1e-9 * scale.max():
            raise ValueError(f"pca: component {self.dim} has no variance to whiten; lower dim")
        return {"mean": mean, "projection": directions.T / scale}, _linear(sample)


@dataclass(frozen=True)
class Identity:
    """The values themselves, flattened; `reads` names what they are: the images, or latents."""

    reads: Reads = "images"
    max_fit: ClassVar[int] = 1

    def fit(self, sample: Sample) -> tuple[Arrays, dict[str, Any]]:
        """Nothing to fit: zero mean, no projection."""
        return {"mean": np.zeros(sample.dim)}, _linear(sample)


@dataclass(frozen=True)
class Network:
    """What an encoder by a pretrained network adds to the options of its backbone.

    `normalise` is applied first (`l2`: to unit length, so that distances are angles); then, with
    `dim`, the components of largest variance are kept, not whitened: distances shrink by what is
    left out and by nothing else.
    """

    dim: int | None = None
    normalise: Literal["none", "l2"] = "none"
    max_fit: int = 100_000
    backbone: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse an empty projection, and what the backbone refuses."""
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"{self.backbone} wants dim >= 1 or null, got {self.dim}; raise it")
        _check_max_fit(self.backbone, self.max_fit)
        if hasattr(super(), "__post_init__"):
            super().__post_init__()

    def fit(self, sample: Sample) -> tuple[Arrays, dict[str, Any]]:
        """The projection (none without `dim`), and what finds the network again."""
        table = choices.with_plugins("backbones", image_networks.BACKBONES)
        kind = table[self.backbone]
        plain = kind(**{f.name: getattr(self, f.name) for f in fields(kind)})
        network = plain.load()
        most = min(len(sample), network.dim)
        if self.dim is not None and self.dim > most:
            raise ValueError(f"{self.backbone} wants dim <= {most} here, got {self.dim}; lower it")
        encode = fitted_encoders.Network(network, self.normalise, {})
        encode(next(sample.blocks(1)))  # what are no images is refused here, not in every shard
        note = {
            "kind": "network",
            "backbone": choices.describe(table, plain),
            "sha256": network.sha256,
            "input_size": network.size,
            "resize": f"{network.resize}_{network.size}",
            "precision": network.precision,
            "normalise": self.normalise,
            "dim": self.dim or network.dim,
            "flop_per_image": network.flop_per_image,
        }
        if self.dim is None:
            return {}, note
        blocks = _features(encode, sample)
        mean, directions, _ = components(blocks, self.dim)
        return {"mean": mean, "projection": directions.T}, note


@dataclass(frozen=True)
class Inception(Network, image_networks.Inception):
    """The pooled units of Inception-v3, in float32; features come with the logits of IS."""

    backbone: ClassVar[str] = "inception"


@dataclass(frozen=True)
class DINOv2(Network, image_networks.DINOv2):
    """The normed class token of a DINOv2, by default of unit length."""

    normalise: Literal["none", "l2"] = "l2"
    backbone: ClassVar[str] = "dinov2"


@dataclass(frozen=True)
class CLIP(Network, image_networks.CLIP):
    """The projected image embedding of a CLIP, by default of unit length."""

    normalise: Literal["none", "l2"] = "l2"
    backbone: ClassVar[str] = "clip"


@dataclass(frozen=True)
class Timm(Network, image_networks.Timm):
    """The pooled features of any network of timm, from a local file."""

    backbone: ClassVar[str] = "timm"


ENCODERS = {
    "pca": PCA,
    "identity": Identity,
    "inception": Inception,
    "dinov2": DINOv2,
    "clip": CLIP,
    "timm": Timm,
}


def run(job) -> None:
    """Write `encoder`: its arrays, and in the notes how they are applied."""
    encoder = choices.build(
        choices.with_plugins("encoders", ENCODERS), job.spec["encoder"], "encoder"
    )
    index = job.table("index", columns=["split", "shard", "row"])
    train = np.flatnonzero(index["split"] == "train")
    if not len(train):
        raise ValueError("encoder: wanted training samples to fit on, got none; lower heldout")
    rows = shards.values(job, index)
    numbers = drawn(train, encoder.max_fit, job.spec["seed"])
    arrays, note = encoder.fit(Sample(rows, numbers))
    job.write_arrays("encoder", arrays, encoder=note)


def drawn(train: np.ndarray, most: int, seed: int) -> np.ndarray:
    """`train` if it is no longer than `most`, else so many of it; in order either way."""
    if len(train) <= most:
        return train
    rng = seeds.stream(seed, "encoder")
    return train[np.sort(rng.choice(len(train), most, replace=False))]


def decomposed(values: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, `dim` directions (rows) of largest variance, and the variances, by one SVD."""
    from sklearn.decomposition import PCA as Decomposition

    flat = values.reshape(len(values), -1).astype(np.float64)
    fitted = Decomposition(dim, whiten=True, svd_solver="full").fit(flat)
    return fitted.mean_, fitted.components_, fitted.explained_variance_


def components(
    blocks: Iterator[np.ndarray], dim: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in one pass over blocks [n, ...]: the eigenvectors of the covariance.

    In memory that does not grow with the number of samples. Signs as scikit-learn has them: the
    largest entry of a direction is positive.
    """
    from scipy.linalg import eigh

    num, shift, total, square = 0, 0.0, 0.0, 0.0
    for block in blocks:
        flat = block.reshape(len(block), -1).astype(np.float64)
        if not num:
            shift = flat.mean(0)  # near the mean, so that the difference below keeps its digits
        flat -= shift
        num, total, square = num + len(flat), total + flat.sum(0), square + flat.T @ flat
    offset = total / num
    covariance = (square - num * np.outer(offset, offset)) / (num - 1)
    size = len(covariance)
    variances, vectors = eigh(covariance, subset_by_index=[size - dim, size - 1])
    directions = vectors.T[::-1]
    largest = directions[np.arange(dim), np.abs(directions).argmax(1)]
    return shift + offset, directions * np.sign(largest)[:, None], variances[::-1].clip(0)


def _features(encode: fitted_encoders.Encode, sample: Sample) -> Iterator[np.ndarray]:
    progress = Progress("encoder", len(sample))
    for block in sample.blocks(encode.block):
        yield encode(block)
        progress.advance(len(block))


def _linear(sample: Sample) -> dict[str, Any]:
    return {"kind": "linear", "shape": list(sample.shape), "precision": "float64"}


def _check_max_fit(name: str, max_fit: int) -> None:
    if max_fit < 1:
        raise ValueError(f"{name} wants max_fit >= 1, got {max_fit}; raise it")
