"""Checks of the inputs of a metric: features, and the weights of its replicates.

A metric compares `samples` x with a reference, for many weightings of the samples at once. Row r
of `weights` is how often each sample counts in replicate r: all ones for the whole set, zeros and
ones for a jackknife, counts for a bootstrap. The checks return float64. A metric calls them first.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from routing.statistics.errors import TooFewSamples

WEIGHTS_PER_CHECK = 2**15  # as many as fit in the cache of a processor
# By id of a tensor: the tensor, its version and the result of _min_num_positive. All metrics of an
# arm use the same weights, and a cheap metric would cost less than their check. A tensor that was
# written to has another version and is checked again.
_CHECKED: dict[int, tuple[weakref.ref, int, int]] = {}


@contextmanager
def prefix_errors(prefix: str) -> Iterator[None]:
    """Prefix the message of a ValueError from inside with `prefix` and a colon."""
    try:
        yield
    except ValueError as error:
        kind = TooFewSamples if isinstance(error, TooFewSamples) else ValueError
        raise kind(f"{prefix}: {error}") from None


def reference_features(
    reference: Float[Tensor, "reference dim"], at_least: int
) -> Float[Tensor, "reference dim"]:
    """Return the reference in float64. Raise ValueError if it is not finite or too small."""
    return _features("reference", reference, at_least)


def weighted_samples(
    samples: Float[Tensor, "samples dim"],
    weights: Float[Tensor, "replicates samples"],
    dim: int,
    at_least: int,
) -> tuple[Float[Tensor, "samples dim"], Float[Tensor, "replicates samples"]]:
    """Return samples and weights in float64.

    Raises ValueError on features that are not finite or not `dim` wide, and as sample_counts.
    """
    if samples.shape[1] != dim:
        raise ValueError(
            f"samples: wanted {dim} features as the reference has, got {samples.shape[1]}; "
            "take both from one feature extractor"
        )
    x = _features("samples", samples, at_least)
    return x, sample_counts(weights, at_least)


def sample_counts(
    weights: Float[Tensor, "replicates samples"], at_least: int
) -> Float[Tensor, "replicates samples"]:
    """Return the weights in float64.

    Raises ValueError unless they are whole numbers >= 0, `at_least` of them positive in every row.
    """
    w = weights.double()
    key = id(w)
    ref, version, fewest = _CHECKED.get(key, (None, 0, 0))
    if ref is None or ref() is not w or version != w._version:
        fewest = _min_num_positive(w)
        _CHECKED[key] = weakref.ref(w, lambda _: _CHECKED.pop(key, None)), w._version, fewest
    if fewest < at_least:
        raise TooFewSamples(
            f"weights: wanted at least {at_least} samples in every replicate, got {fewest}; "
            "give more samples or leave fewer out"
        )
    return w


def _min_num_positive(w: Tensor) -> int:
    """Return the smallest number of positive weights in a row. Raise ValueError on no count."""
    fewest = w.shape[1]
    for rows in w.split(max(1, WEIGHTS_PER_CHECK // max(1, w.shape[1]))):
        least, most = rows.aminmax()  # nan fails the comparisons
        if not (least >= 0 and most < torch.inf and torch.equal(rows, rows.round())):
            whole = (rows >= 0) & (rows < torch.inf) & (rows == rows.round())
            raise ValueError(
                f"weights: wanted whole numbers >= 0, got {rows[~whole][0].item():g}; "
                "a weight says how often a sample counts"
            )
        fewest = min(fewest, int(rows.clamp_max(1).sum(dim=1).min()))
    return fewest


def _features(name: str, x: Tensor, at_least: int) -> Tensor:
    if len(x) < at_least:
        raise TooFewSamples(
            f"{name}: wanted at least {at_least} rows, got {len(x)}; give more samples"
        )
    x = x.double()
    bad = int((~x.sum(dim=1).isfinite()).sum())
    if bad:
        raise ValueError(
            f"{name}: wanted finite features, got nan or inf in {bad} of {len(x)} rows; "
            "find out what made them, do not drop them"
        )
    return x
