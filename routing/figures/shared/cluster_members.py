"""Who is in a cluster, for figures: training images by position, and the labels among them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from routing.figures.shared.figure_inputs import FigureInputs
from routing.partitions.membership import memberships

NO_LABEL = "no label"
OTHER = "other"


@dataclass(frozen=True)
class SampleLabels:
    """A label of every real sample: `names[codes[i]]`, names in their natural order."""

    codes: np.ndarray  # [samples]
    names: tuple[str, ...]


def sample_labels(index: pd.DataFrame) -> SampleLabels:
    """The labels of the index, numbers or texts; samples without one are `MISSING`, the last."""
    codes, values = pd.factorize(index["label"], sort=True)
    names = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    if (codes < 0).any():
        codes, names = np.where(codes < 0, len(names), codes), [*names, NO_LABEL]
    return SampleLabels(codes, tuple(names))


def training_members(inputs: FigureInputs, partition: str) -> list[np.ndarray]:
    """Positions of the training images of each cluster; an image of two clusters is in both."""
    train = (inputs.index["split"] == "train").to_numpy()
    table = inputs.assignments(partition)
    return positions_by_cluster(memberships(table), train, inputs.num_experts[partition])


def positions_by_cluster(own: np.ndarray, chosen: np.ndarray, num: int) -> list[np.ndarray]:
    """Positions of the `chosen` [samples] of which cluster k is one of `own` [samples, m]."""
    return [np.flatnonzero(chosen & (own == k).any(1)) for k in range(num)]


def label_counts(
    found: SampleLabels, clusters: list[np.ndarray], most: int, own: int
) -> pd.DataFrame:
    """cluster, label, images, share of the cluster, by the positions in each of `clusters`.

    Up to `most` labels stand in their natural order, all in every cluster. Of more, each cluster
    has its `own` commonest, the commonest first, and the rest together as `OTHER`.
    """
    every = [np.bincount(found.codes[rows], minlength=len(found.names)) for rows in clusters]
    present = np.flatnonzero(np.sum(every, axis=0))
    parts = []
    for k, counts in enumerate(every):
        kept = present
        if len(present) > most:
            falling = np.argsort(-counts, kind="stable")[:own]
            kept = falling[counts[falling] > 0]
        names, images = [found.names[i] for i in kept], counts[kept].tolist()
        if rest := int(counts.sum() - sum(images)):
            names, images = [*names, OTHER], [*images, rest]
        part = pd.DataFrame({"cluster": k, "label": names, "images": images})
        parts.append(part.assign(share=part["images"] / max(1, counts.sum())))
    return pd.concat(parts, ignore_index=True)


def common_label_lines(counts: pd.DataFrame, num: int, width: int) -> list[str]:
    """Lines of up to `width` letters of the commonest labels: 'apple (45 %), pear (12 %)'.

    Only of labels whose share is not 0 % in whole numbers.
    """
    named = counts[(counts["label"] != OTHER) & (counts["share"] >= 0.005)]
    named = named.sort_values("images", ascending=False, kind="stable").head(num)
    lines = [""]
    for row in named.itertuples():
        text = f"{truncated(row.label, width - 9)} ({100 * row.share:.0f} %)"
        if lines[-1] and len(lines[-1]) + 2 + len(text) > width:
            lines.append(text)
        else:
            lines[-1] += (", " if lines[-1] else "") + text
    return lines


def truncated(text: str, width: int) -> str:
    """`text` of at most `width` letters, the last a sign that some are missing."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"
