"""Training images of each cluster, and the labels among them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from routing.figures.shared.figure_inputs import FigureInputs
from routing.figures.shared.figure_text import drawn_text, figure_text
from routing.partitions.membership import memberships

NO_LABEL, OTHER = "no label", "other"  # shown; a label may be equal to one of them


@dataclass(frozen=True)
class SampleLabels:
    """Labels of all real samples: sample i has `names[codes[i]]`; names are sorted.

    If `is_partial`, some samples have no label, and the last name is NO_LABEL.
    """

    codes: np.ndarray  # [samples]
    names: tuple[str, ...]
    is_partial: bool = False


def sample_labels(index: pd.DataFrame) -> SampleLabels:
    """Return the labels in `index`; samples without a label have NO_LABEL, the last name."""
    codes, values = pd.factorize(index["label"], sort=True)
    names = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    is_partial = bool((codes < 0).any())
    if is_partial:
        codes, names = np.where(codes < 0, len(names), codes), [*names, NO_LABEL]
    return SampleLabels(codes, tuple(names), is_partial)


def training_members(inputs: FigureInputs, partition: str) -> list[np.ndarray]:
    """Return the positions of the training images of each cluster, which may overlap."""
    train = (inputs.index["split"] == "train").to_numpy()
    table = inputs.assignments(partition)
    return positions_by_cluster(memberships(table), train, inputs.num_experts[partition])


def positions_by_cluster(own: np.ndarray, chosen: np.ndarray, num: int) -> list[np.ndarray]:
    """Return the positions of `chosen` [samples] in each cluster; `own` is [samples, m]."""
    return [np.flatnonzero(chosen & (own == k).any(1)) for k in range(num)]


def label_counts(
    found: SampleLabels, clusters: list[np.ndarray], most: int, own: int
) -> pd.DataFrame:
    """Return cluster, label, images, is_rest and share of the cluster, for positions by cluster.

    If there are up to `most` labels, every cluster has all of them, sorted. Otherwise a cluster
    has its `own` most frequent labels, the most frequent first, and a row `is_rest` with OTHER.
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
        is_rest = [False] * len(names)
        if rest := int(counts.sum() - sum(images)):
            names, images, is_rest = [*names, OTHER], [*images, rest], [*is_rest, True]
        part = pd.DataFrame({"cluster": k, "label": names, "images": images, "is_rest": is_rest})
        parts.append(part.assign(share=part["images"] / max(1, counts.sum())))
    return pd.concat(parts, ignore_index=True)


def common_label_lines(counts: pd.DataFrame, num: int, width: int) -> list[str]:
    """Return the `num` most frequent labels as text of a figure, in lines of `width` letters.

    A line is 'apple (45 %), pear (12 %)'. Labels with less than 0.5 % are left out.
    """
    named = counts[~counts["is_rest"] & (counts["share"] >= 0.005)]
    named = named.sort_values("images", ascending=False, kind="stable").head(num)
    lines = [""]
    for row in named.itertuples():
        text = f"{truncated(drawn_text(row.label), width - 9)} ({100 * row.share:.0f} %)"
        if lines[-1] and len(lines[-1]) + 2 + len(text) > width:
            lines.append(text)
        else:
            lines[-1] += (", " if lines[-1] else "") + text
    return [figure_text(line) for line in lines]


def truncated(text: str, width: int) -> str:
    """Return `text`, cut to `width` letters with an ellipsis if it is longer."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"
