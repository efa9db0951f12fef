"""The held-out real images as a set: what a perfect generator of that many images would score."""

import numpy as np

from routing.workflow import seeds


def rows(split: np.ndarray, seed: int, num_blocks: int, most: int | None = None) -> np.ndarray:
    """Positions in the index of the held-out images, as many as fill whole blocks.

    `split` is the index's column; no more than `most`. In random order: a source may be sorted,
    and blocks must be alike.
    """
    found = seeds.stream(seed, "evaluation", 1).permutation(np.flatnonzero(split != "train"))
    found = found[:most]
    return found[: len(found) - len(found) % max(1, min(num_blocks, len(found)))]
