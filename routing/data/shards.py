"""Rows of one array over the shards that hold it, in the order of the index.

The index says of row i where it is stored: the shard, and the row there. Files are memory-mapped:
what is taken is read, and nothing else. `values` are samples as networks see them.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from routing.data import pixel_values

BLOCK = 4096  # rows


class Shards:
    """Array `key` of all files of input `name` of a job; `index` has the columns shard, row.

    `files` are the numbers of the files that are the shards (null: all). `convert` is applied to
    what is taken, row by row. Raises ValueError (one line) if there is no file or a shard has
    fewer rows than the index says.
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
        """Map the files; nothing is read yet but their seals."""
        files = range(job.count(name)) if files is None else files
        # Of no files the first is missed.
        self._maps = [job.mapped(name, i)[key] for i in files or [0]]
        self._shard, self._row = index["shard"].to_numpy(), index["row"].to_numpy()
        self._convert = convert or (lambda rows: rows)
        num = np.array([len(array) for array in self._maps])
        if len(index) and self._shard.max() >= len(num):
            raise ValueError(
                f"input {name!r}: wanted {self._shard.max() + 1} shards (as the index says), got "
                f"{len(num)}; give the job all of them"
            )
        if (self._row >= num[self._shard]).any():
            raise ValueError(
                f"input {name!r}: wanted a row of {key!r} for each of the index, got too few; it "
                f"is of other data"
            )

    def __len__(self) -> int:
        """Rows of the index."""
        return len(self._row)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return self._maps[0].shape[1:]

    def take(self, numbers: np.ndarray | pd.Series | Sequence[int]) -> np.ndarray:
        """The rows at these positions of the index, in this order."""
        numbers = np.asarray(numbers, np.int64)
        shard, row = self._shard[numbers], self._row[numbers]
        if len(self._maps) == 1:
            return self._convert(self._maps[0][row])
        taken = np.empty((len(numbers), *self.shape), self._maps[0].dtype)
        for s in np.unique(shard):
            mine = np.flatnonzero(shard == s)
            taken[mine] = self._maps[s][row[mine]]
        return self._convert(taken)

    def blocks(self, size: int = BLOCK) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows, `size` at a time: positions and rows."""
        for first in range(0, len(self), size):
            here = slice(first, min(first + size, len(self)))
            yield here, self.take(np.arange(here.start, here.stop))


def values(job, index: pd.DataFrame, name: str = "samples") -> Shards:
    """The samples of input `name` as networks see them: float32, images in [-1, 1]."""
    num = job.count(name)
    levels = job.metadata(name)["levels"] if num else None
    return Shards(
        job, name, index, "samples", lambda stored: pixel_values.to_values(stored, levels)
    )
