"""What a metric sees of the real images when it fits, and of an arm when it measures."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Replicates = dict[str, Float[Tensor, " replicates"]]
Draws = dict[str, Float[Tensor, " draws"]]


class Kind(NamedTuple):
    """One sort of number: 1 if higher is better, -1 if lower, 0 if neither; and its range."""

    direction: int
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True)
class Real:
    """The training images in one space.

    `points` are those that pairs are made with: all, or as many as the config says; `blocks`
    goes through all of them. `heldout` are real images that nobody was trained on.
    """

    points: Float[Tensor, "points dim"]
    clusters: Int[Tensor, " points"]
    num_clusters: int
    heldout: Float[Tensor, "heldout dim"]
    blocks: Callable[[], Iterator[Float[Tensor, "rows dim"]]]


@dataclass(frozen=True)
class Pairs:
    """LPIPS of one arm: sums over pairs of blocks, and the distance of each sample to another."""

    net: str  # as in names
    total: Float[Tensor, "blocks blocks"]  # summed distances, each pair once
    count: Float[Tensor, "blocks blocks"]  # pairs
    to_baseline: Float[Tensor, " samples"] | None
    baseline: str
    within: str  # "all", or what the two samples of a pair must share


@dataclass(frozen=True)
class View:
    """One arm after one training, in the space of one metric."""

    features: Float[Tensor, "samples dim"]
    reference: Any  # what the metric has fitted
    weights: Float[Tensor, "replicates samples"]
    named: Callable[[str], str]  # the kind of a number -> its name in the tables
    order: Int[Tensor, " samples"]  # a random order of the samples, the same for all arms
    class_names: tuple[str, ...] = ()
    class_shares: Float[Tensor, " classes"] | None = None  # of the training images
    cluster_shares: Float[Tensor, " clusters"] | None = None
    classes: Int[Tensor, " samples"] | None = None  # said by the classifier
    requested: Int[Tensor, " samples"] | None = None  # the class that the sample was asked for
    clusters: Int[Tensor, " samples"] | None = None  # nearest centroid
    point_clusters: Int[Tensor, " points"] | None = None  # of the training images in `reference`
    num_train: int = 0  # training images, whether drawn for `reference` or not
    logits: Float[Tensor, "samples logits"] | None = None  # of Inception
    texts: Float[Tensor, "samples text_dim"] | None = None  # the caption asked for, in this space
    depicted: Float[Tensor, "samples text_dim"] | None = None  # after "A photo depicts "
    pairs: Pairs | None = None

    def resampled(self, weights: Float[Tensor, "replicates samples"]) -> "View":
        """The same with other weights."""
        return replace(self, weights=weights)


@dataclass(frozen=True)
class Measure:
    """A metric. Subclasses say its `kinds` and how its replicates come about.

    `resamples`: whether a bootstrap makes sense and is cheap; then `bootstrap` gives a value for
    each row of counts. `fitted_by` names the options that change what `fit` gives, `fits_all` says
    that it goes through all training images instead of the points that were drawn.
    """

    kinds: ClassVar[dict[str, Kind]]
    reference: ClassVar[type | None] = None
    fitted_by: ClassVar[tuple[str, ...]] = ()
    fits_all: ClassVar[bool] = False
    resamples: ClassVar[bool] = False

    def departures(self, kind: str) -> tuple[str, ...]:
        """Words for the options that change numbers of this kind and are not the published ones.

        They are in the names (routing/metrics/feature_space_names.py).
        """
        return ()

    def key(self) -> str:
        """What was fitted, as a name; metrics of one key share it."""
        assert self.reference is not None
        options = [f"{getattr(self, name)}" for name in self.fitted_by]
        return "-".join([self.reference.__name__, *options])

    def fit(self, real: Real) -> Any:
        """What is known of the real images before any arm is seen."""
        return self.reference.fit(real.points) if self.reference else None

    def replicates(self, view: View) -> Replicates:
        """By name, a value for each row of `view.weights`."""
        raise NotImplementedError

    def bootstrap(self, view: View, counts: Float[Tensor, "draws samples"]) -> Replicates:
        """By name, a value for each row of counts; nothing where it does not resample."""
        return self.replicates(view.resampled(counts)) if self.resamples else {}

    def measured(
        self, view: View, rows: Float[Tensor, "rows samples"]
    ) -> tuple[Replicates, Draws]:
        """`replicates` and `bootstrap`: in one pass where both are the same of other weights.

        `rows` are `view.weights` with the counts of the draws below, if any.
        """
        num = len(view.weights)
        if type(self).bootstrap is Measure.bootstrap and self.resamples:
            both = self.replicates(view.resampled(rows))
            drawn = {n: v[num:] for n, v in both.items()} if len(rows) > num else {}
            return {n: v[:num] for n, v in both.items()}, drawn
        return self.replicates(view), self.bootstrap(view, rows[num:]) if len(rows) > num else {}

    def scores(self, view: View) -> dict[str, Float[Tensor, " samples"]]:
        """By name, what is said of each sample by itself."""
        return {}

    def note(self, view: View) -> str:
        """What a number of so few samples is worth, in a sentence; empty if nothing is to say."""
        return ""

    def noted(self, view: View) -> str:
        """`note`, behind how many of the training images it is fitted on if these are not all."""
        note = self.note(view)
        if self.reference is None or self.fits_all or len(view.point_clusters) >= view.num_train:
            return note
        few = f"with {len(view.point_clusters)} of {view.num_train} training images"
        return f"{few}; {note}" if note else few


@dataclass(frozen=True)
class InSpace(Measure):
    """A metric in a feature space of its own, of so many samples (null: all; else in the name)."""

    feature_space: str | None = None
    num_samples: int | None = None

    def __post_init__(self) -> None:
        """Refuse empty sets."""
        if self.num_samples is not None and self.num_samples < 2:
            raise ValueError(f"wanted num_samples >= 2 or null, got {self.num_samples}; raise it")


@dataclass(frozen=True)
class PerSample(InSpace):
    """A metric that is a mean over the samples of what is said of each."""

    resamples: ClassVar[bool] = True

    def replicates(self, view: View) -> Replicates:
        """Weighted means of the scores."""
        return means(self.scores(view), view.weights)


def means(scores: dict[str, Tensor], weights: Float[Tensor, "replicates samples"]) -> Replicates:
    """The weighted mean of each score, a value per row of weights, which are read once."""
    columns = [score.double() for score in scores.values()]
    sums = weights @ torch.stack([*columns, weights.new_ones(weights.shape[1])], 1)
    return {name: sums[:, i] / sums[:, -1] for i, name in enumerate(scores)}


def stored(reference: Any) -> dict[str, Any]:
    """The parts of a fitted reference but for those that are the real images themselves."""
    parts = {f.name: getattr(reference, f.name) for f in fields(reference)}
    return {name: part for name, part in parts.items() if name not in ("points", "train")}
