"""Memorisation: distances of samples to training images, compared with those of held-out images.

With d_i = min_t |x_i - y_t| the distance of sample i to the nearest training image, t_i that
image (the first of several equals), h_j the same distance of held-out image j, and o_t the
distance of training image t to its nearest other training image,

    copy ratio    R = (sum_i w_i d_i / sum_i w_i) / mean_j h_j      0: all samples are copies
    authenticity  A = sum_i w_i [ d_i > o_{t_i} ] / sum_i w_i       in [0, 1]; 0: all are copies

R of new real images scatters around 1; well below 1 is suspicious. A is the fraction of samples
that are farther from their nearest training image than another training image is. It has no ideal
value: compare it with that of held-out images. Both fall with the size of the training set:
compare with the same training set. Both rise for a sample far from all data, so they do not
measure quality.

All training images are searched, since even a copy is far from most of a subset. They are read
one block at a time, and o_t is computed only for the nearest training images of samples. So the
cost is two comparisons of the samples with all training images.

Source: A is AuthPct of Alaa et al. 2022, arXiv:2102.08921, as a fraction. Both are diagnostics:
Stein et al. 2023, arXiv:2306.04675, find that no such number detects memorisation reliably.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.metrics.formulas.input_checks import reference_features, weighted_samples
from routing.metrics.formulas.pairwise_distances import nearest

Blocks = Callable[[], Iterator[Float[Tensor, "rows dim"]]]  # all rows, in the same order each time


@dataclass(frozen=True)
class CopyReference:
    """All training images in their stored precision, and the distances of held-out images."""

    train: Blocks
    heldout_distance: Float[Tensor, " heldout"]  # to the nearest training image

    @classmethod
    def fit(
        cls, train: Blocks, heldout: Float[Tensor, "heldout dim"], block: int = 512
    ) -> "CopyReference":
        """Compute the distances of the held-out images.

        Raises ValueError on fewer than 2 training images or 1 held-out image, on rows that are not
        finite, and if every held-out image is a training image.
        """
        num = sum(len(reference_features(rows, at_least=0)) for rows in train())
        if num < 2:
            raise ValueError(f"reference: wanted at least 2 rows, got {num}; give more samples")
        everyone = torch.ones(1, len(heldout), device=heldout.device)
        h, _ = weighted_samples(heldout, everyone, heldout.shape[1], at_least=1)
        heldout_distance = nearest_training_images(train, h, block)[0]
        if not heldout_distance.any():
            raise ValueError(
                f"held-out images: wanted one at least that is no training image, got {len(h)} "
                "that all are; split the data again"
            )
        return cls(train, heldout_distance)


@dataclass(frozen=True)
class CopyDistances:
    """What the metrics are means of: the distance of every sample to the training images."""

    distance: Float[Tensor, " samples"]  # to the nearest training image
    is_authentic: Bool[Tensor, " samples"]  # d_i > o_{t_i}
    weights: Float[Tensor, "replicates samples"]
    heldout_mean: Float[Tensor, ""]

    def metrics(self) -> dict[str, Float[Tensor, " replicates"]]:
        """Return R and A of every replicate, by name, float64."""
        w, n = self.weights, self.weights.sum(dim=1)
        return {
            "copy_ratio": w @ self.distance / n / self.heldout_mean,
            "authenticity": w @ self.is_authentic.double() / n,
        }


def copy_distances(
    samples: Float[Tensor, "samples dim"],
    reference: CopyReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> CopyDistances:
    """Return the distances of the samples to the training images.

    `block` samples are compared at a time; the result does not depend on it. Raises as
    weighted_samples.
    """
    _, w = weighted_samples(samples, weights, samples.shape[1], at_least=1)
    d, index = nearest_training_images(reference.train, samples, block)
    t, inverse = index.unique(return_inverse=True)
    o, _ = nearest_training_images(
        reference.train, training_rows(reference.train, t), block, own=t
    )
    return CopyDistances(d, d > o[inverse], w, reference.heldout_distance.mean())


def copy_metrics(
    samples: Float[Tensor, "samples dim"],
    reference: CopyReference,
    weights: Float[Tensor, "replicates samples"],
    block: int = 512,
) -> dict[str, Float[Tensor, " replicates"]]:
    """Return R and A of every replicate, by name, float64. Raises as `copy_distances`."""
    return copy_distances(samples, reference, weights, block).metrics()


def nearest_training_images(
    train: Blocks,
    x: Float[Tensor, "samples dim"],
    block: int = 512,
    own: Int[Tensor, " samples"] | None = None,
) -> tuple[Float[Tensor, " samples"], Int[Tensor, " samples"]]:
    """Return the distance to the nearest training image, float64, and its index.

    Of several equals the first one is returned. Index own[i] is skipped for x_i. Raises ValueError
    if the numbers of features differ.
    """
    d = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    index, first = torch.full_like(d, -1, dtype=torch.long), 0
    for y in train():
        if y.shape[1] != x.shape[1]:
            raise ValueError(
                f"samples: wanted {y.shape[1]} features as the reference has, got {x.shape[1]}; "
                "take both from one feature extractor"
            )
        found, which = nearest(x, y, 1, block, None if own is None else own - first)
        nearer = found[:, 0] < d
        d[nearer], index[nearer] = found[nearer, 0], first + which[nearer, 0]
        first += len(y)
    return d, index


def training_rows(train: Blocks, numbers: Int[Tensor, " images"]) -> Float[Tensor, "images dim"]:
    """Return the training images of these indices."""
    found, first = None, 0
    for y in train():
        found = y.new_empty(len(numbers), y.shape[1]) if found is None else found
        here = (numbers >= first) & (numbers < first + len(y))
        found[here] = y[numbers[here] - first]
        first += len(y)
    return found
