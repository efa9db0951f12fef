"""An array that is stored in several files (shards), read in the order of the index.

Row i of the index has the shard that stores sample i, and its row there. Files are memory-mapped,
so only the rows that are taken are read.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from routing.data import pixel_values

BLOCK = 4096  # rows


class Shards:
    """The array `key` of all files of input `name` of a job.

    `index` has the columns shard and row. `files` are the positions of the shards among the
    files; None stands for all files. `convert` is applied to the rows that are taken. Raises
    ValueError if there is no file, or if a shard has fewer rows than the index needs.
    """

    def __init__(
        self,
        job,
        name: str,
        index: pd.DataFrame,
        key: str,
        convert: Callable[[np.ndarray], np.ndarray] | None = None,
        files: Sequence[int] | None = None,
    ):
        files = range(job.count(name)) if files is None else files
        # Without files, asking for the first raises the error.
        self._maps = [job.mapped(name, i)[key] for i in files or [0]]
        self._shard, self._row = index["shard"].to_numpy(), index["row"].to_numpy()
        self._convert = convert or (lambda rows: rows)
        num = np.array([len(array) for array in self._maps])
        if len(index) and self._shard.max() >= len(num):
            raise ValueError(
                f"input {name!r}: wanted {self._shard.max() + 1} shards, as in the index, got "
                f"{len(num)}; name all of them"
            )
        if (self._row >= num[self._shard]).any():
            raise ValueError(
                f"input {name!r}: wanted a row of {key!r} for every row of the index, got fewer; "
                f"use files of the same data"
            )

    def __len__(self) -> int:
        """Return the number of rows of the index."""
        return len(self._row)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self._maps[0].shape[1:]

    def take(self, numbers: np.ndarray | pd.Series | Sequence[int]) -> np.ndarray:
        """Return the rows at these positions of the index, in this order."""
        numbers = np.asarray(numbers, np.int64)
        shard, row = self._shard[numbers], self._row[numbers]
        if len(self._maps) == 1:
            return self._convert(self._maps[0][row])
        taken = np.empty((len(numbers), *self.shape), self._maps[0].dtype)
        for s in np.unique(shard):
            here = np.flatnonzero(shard == s)
            taken[here] = self._maps[s][row[here]]
        return self._convert(taken)

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the positions and the rows of all blocks of `size` rows."""
        for first in range(0, len(self), size):
            here = slice(first, min(first + size, len(self)))
            yield here, self.take(np.arange(here.start, here.stop))


def values(job, index: pd.DataFrame, name: str = "samples") -> Shards:
    """Return the samples of input `name` as float32 values; those of images are in [-1, 1]."""
    num = job.count(name)
    levels = job.metadata(name)["levels"] if num else None
    return Shards(
        job, name, index, "samples", lambda stored: pixel_values.to_values(stored, levels)
    )
