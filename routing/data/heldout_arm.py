"""The held-out real images as one more set of samples: the score of a perfect generator."""

import numpy as np

from routing.workflow import seeds


def rows(split: np.ndarray, seed: int, num_blocks: int, most: int | None = None) -> np.ndarray:
    """Return the positions in the index of held-out images, as many as fill whole blocks.

    `split` is a column of the index; `most` limits the number. The order is random, because a
    source may be sorted and the jackknife needs blocks that are alike.
    """
    found = seeds.stream(seed, "evaluation", 1).permutation(np.flatnonzero(split != "train"))
    found = found[:most]
    return found[: len(found) - len(found) % max(1, min(num_blocks, len(found)))]
