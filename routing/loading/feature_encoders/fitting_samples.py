"""The training samples that a feature encoder is fitted on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from routing.workflow import seeds

Arrays = dict[str, np.ndarray]
Reads = Literal["images", "latents"]  # what the samples are


@dataclass(frozen=True)
class FittingSamples:
    """The samples at positions `numbers` of `rows`, read from disk when they are needed."""

    rows: Any  # a routing.data.shards.Shards
    numbers: np.ndarray

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.rows.shape)

    @property
    def dim(self) -> int:
        """Number of values of one sample."""
        return int(np.prod(self.shape))

    def all(self) -> np.ndarray:
        """All samples [samples, ...]."""
        return self.rows.take(self.numbers)

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """All samples in order, `size` at a time."""
        for first in range(0, len(self), size):
            yield self.rows.take(self.numbers[first : first + size])


def subsample(train: np.ndarray, max_fit: int, seed: int) -> np.ndarray:
    """At most `max_fit` of the positions `train`, in increasing order.

    They are drawn without replacement from one random stream, the same for all encoders.
    """
    if len(train) <= max_fit:
        return train
    rng = seeds.stream(seed, "encoder")
    return train[np.sort(rng.choice(len(train), max_fit, replace=False))]


def check_max_fit(name: str, max_fit: int) -> None:
    """Raise ValueError unless max_fit >= 1."""
    if max_fit < 1:
        raise ValueError(f"{name} wants max_fit >= 1, got {max_fit}; raise it")
