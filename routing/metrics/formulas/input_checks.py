"""What every set metric checks before it counts: features, and the weights of its replicates.

A set metric compares `samples` x with a reference and answers for many re-weightings of the
samples at once: row r of `weights` says how often each sample counts in replicate r (all ones:
the set as it is; zeros and ones: some left out, as in a jackknife; counts: a bootstrap).
What passes these checks is float64. A new metric calls them first and nothing else.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from routing.statistics.errors import TooFewSamples

WEIGHTS_PER_CHECK = (
    2**15
)  # weights looked at together: what a processor has near, since counts are many
# By id of a tensor: itself, its version and its fewest. All metrics of an arm share their weights,
# and a share of categories costs less than a look at them; one written to since is looked at.
_CHECKED: dict[int, tuple[weakref.ref, int, int]] = {}


@contextmanager
def prefix_errors(whose: str) -> Iterator[None]:
    """A ValueError from inside says whose it is, since mathematics does not know."""
    try:
        yield
    except ValueError as error:
        kind = TooFewSamples if isinstance(error, TooFewSamples) else ValueError
        raise kind(f"{whose}: {error}") from None


def reference_features(
    reference: Float[Tensor, "reference dim"], at_least: int
) -> Float[Tensor, "reference dim"]:
    """The reference in float64; ValueError if it is not finite or has too few rows."""
    return _features("reference", reference, at_least)


def weighted_samples(
    samples: Float[Tensor, "samples dim"],
    weights: Float[Tensor, "replicates samples"],
    dim: int,
    at_least: int,
) -> tuple[Float[Tensor, "samples dim"], Float[Tensor, "replicates samples"]]:
    """Samples and weights in float64, every replicate with `at_least` samples left in.

    Raises ValueError on features that are not finite or not `dim` wide, and as sample_counts.
    """
    if samples.shape[1] != dim:
        raise ValueError(
            f"samples: wanted {dim} features as the reference has, got {samples.shape[1]}; "
            "take both from one classifier"
        )
    x = _features("samples", samples, at_least)
    return x, sample_counts(weights, at_least)


def sample_counts(
    weights: Float[Tensor, "replicates samples"], at_least: int
) -> Float[Tensor, "replicates samples"]:
    """Weights in float64: whole numbers >= 0, `at_least` of them positive in every row."""
    w = weights.double()
    key = id(w)
    of, version, fewest = _CHECKED.get(key, (None, 0, 0))
    if of is None or of() is not w or version != w._version:
        fewest = _fewest(w)
        _CHECKED[key] = weakref.ref(w, lambda _: _CHECKED.pop(key, None)), w._version, fewest
    if fewest < at_least:
        raise TooFewSamples(
            f"weights: wanted at least {at_least} samples in every replicate, got {fewest}; "
            "give more samples or leave fewer out"
        )
    return w


def _fewest(w: Tensor) -> int:
    """How many weights are positive in the row that has fewest; ValueError if one is no count."""
    fewest = w.shape[1]
    for rows in w.split(max(1, WEIGHTS_PER_CHECK // max(1, w.shape[1]))):
        least, most = rows.aminmax()  # nan fails the third
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
