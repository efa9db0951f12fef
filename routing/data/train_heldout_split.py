"""The split of the images into training images and held-out images."""

import math

import numpy as np

from routing.workflow import seeds


def split_by_label(labels: np.ndarray, heldout: float, root: int) -> np.ndarray:
    """Return "train" or "heldout" for each sample.

    The fraction `heldout` of every label, rounded to whole samples, is held out.
    """
    split = np.full(len(labels), "train", dtype=object)
    rng = seeds.stream(root, "split")
    _, rank = np.unique(labels, return_inverse=True)
    order, ends = np.argsort(rank, kind="stable"), np.cumsum(np.bincount(rank))
    for rows in np.split(order, ends[:-1]):
        rows = rng.permutation(rows)
        split[rows[: math.floor(heldout * len(rows) + 0.5)]] = "heldout"
    if "heldout" not in split or "train" not in split:
        raise ValueError(
            f"data.heldout_fraction: wanted a fraction that leaves images in both splits, got "
            f"{heldout} of {len(labels)} images; change it"
        )
    return split
