"""What a metric is, and the inputs it gets: the training images when it is fitted, one arm later.

A metric is a frozen dataclass derived from `Metric`. `fit` turns the training images
(`ReferenceSamples`) into a reference, once. `replicates` compares the samples of one arm
(`ArmSamples`) with that reference, once per row of the weights: row 0 are all samples, the other
rows leave out one block of seeds each (jackknife). `bootstrap` does the same for resampled counts.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Replicates = dict[str, Float[Tensor, " replicates"]]  # by metric name
Draws = dict[str, Float[Tensor, " draws"]]  # by metric name


class Kind(NamedTuple):
    """Direction (1: higher is better, -1: lower is better, 0: neither) and range of a value."""

    direction: int
    low: float = 0.0
    high: float = math.inf


UNBIASED_DISTANCE = Kind(-1, -math.inf)  # scatters around zero where the distributions are equal


@dataclass(frozen=True)
class ReferenceSamples:
    """The real images in one feature space.

    `points` are the training images that pairs are formed with: all of them, or a random subset
    of `metrics.num_references`. `blocks()` iterates over all training images. `heldout` are the
    real images that are held out from training.
    """

    points: Float[Tensor, "points dim"]
    clusters: Int[Tensor, " points"]
    num_clusters: int
    heldout: Float[Tensor, "heldout dim"]
    blocks: Callable[[], Iterator[Float[Tensor, "rows dim"]]]


@dataclass(frozen=True)
class LPIPSDistances:
    """LPIPS distances of one arm: sums over the pairs of seed blocks, and to the reference arm."""

    net: str  # as in metric names
    total: Float[Tensor, "blocks blocks"]  # sum of the distances, each pair once
    num_pairs: Float[Tensor, "blocks blocks"]
    to_baseline: Float[Tensor, " samples"] | None  # to the reference arm's sample of the same seed
    baseline: str  # name of the reference arm
    within: str  # "all", or what the two samples of a pair have in common


@dataclass(frozen=True)
class ArmSamples:
    """The samples of one arm from one training seed, in the feature space of one metric."""

    features: Float[Tensor, "samples dim"]
    reference: Any  # what the metric's `fit` returned
    weights: Float[Tensor, "replicates samples"]
    metric_name: Callable[[str], str]  # kind of a value -> its name in the tables
    order: Int[Tensor, " samples"]  # a random order of the samples, the same for all arms
    class_names: tuple[str, ...] = ()
    class_shares: Float[Tensor, " classes"] | None = None  # of the training images
    cluster_shares: Float[Tensor, " clusters"] | None = None  # of the training images
    predicted_classes: Int[Tensor, " samples"] | None = None  # argmax of the classifier
    requested_classes: Int[Tensor, " samples"] | None = None  # that the samples are conditioned on
    clusters: Int[Tensor, " samples"] | None = None  # index of the nearest centroid
    point_clusters: Int[Tensor, " points"] | None = None  # of the training images in `reference`
    num_train: int = 0  # all training images, whether they are in `reference` or not
    inception_logits: Float[Tensor, "samples logits"] | None = None
    caption_features: Float[Tensor, "samples text_dim"] | None = None  # nan: empty caption
    prefixed_caption_features: Float[Tensor, "samples text_dim"] | None = None  # clip_score.PREFIX
    lpips: LPIPSDistances | None = None

    def with_weights(self, weights: Float[Tensor, "replicates samples"]) -> "ArmSamples":
        """Return a copy with other weights."""
        return replace(self, weights=weights)

    def require_classes(self, name: str) -> None:
        """Raise ValueError unless a classifier predicted the classes, for the metric `name`."""
        if self.predicted_classes is None:
            raise ValueError(
                f"metrics: {name!r} wants a classifier with classes, got one without; take a "
                f"classifier or leave the metric out"
            )


@dataclass(frozen=True)
class Metric:
    """Base class of all metrics. A subclass sets the class variables and writes `replicates`.

    kinds                direction and range of every kind of value that the metric returns
    reference_type       class of what `fit` returns; None if the metric needs no reference
    fit_options          names of the options that change what `fit` returns
    fits_all_images      whether `fit` reads all training images instead of `points`
    supports_bootstrap   whether resampled counts are meaningful and cheap for this metric
    sparse_scores        whether scores of 0 are left out of the table of scores
    """

    kinds: ClassVar[dict[str, Kind]]
    reference_type: ClassVar[type | None] = None
    fit_options: ClassVar[tuple[str, ...]] = ()
    fits_all_images: ClassVar[bool] = False
    supports_bootstrap: ClassVar[bool] = False
    sparse_scores: ClassVar[bool] = False

    def name_suffixes(self, kind: str) -> tuple[str, ...]:
        """Return a word for each option that changes `kind` and has not its published value.

        They become part of the metric's name (routing.metrics.feature_space_names).
        """
        return ()

    def reference_key(self) -> str:
        """Return the name of what `fit` returns. Metrics with the same key share the reference."""
        assert self.reference_type is not None
        options = [f"{getattr(self, name)}" for name in self.fit_options]
        return "-".join([self.reference_type.__name__, *options])

    def fit(self, real: ReferenceSamples) -> Any:
        """Return what the metric needs to know of the real images, or None."""
        return self.reference_type.fit(real.points) if self.reference_type else None

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return, by metric name, a value for each row of `arm.weights`."""
        raise NotImplementedError

    def bootstrap(self, arm: ArmSamples, counts: Float[Tensor, "draws samples"]) -> Replicates:
        """Return, by metric name, a value for each row of counts; {} without bootstrap."""
        return self.replicates(arm.with_weights(counts)) if self.supports_bootstrap else {}

    def evaluate(
        self, arm: ArmSamples, rows: Float[Tensor, "rows samples"]
    ) -> tuple[Replicates, Draws]:
        """Return `replicates` and `bootstrap`, in one pass if both are the same function.

        `rows` are `arm.weights`, followed by the counts of the bootstrap draws if there are any.
        """
        num = len(arm.weights)
        if type(self).bootstrap is Metric.bootstrap and self.supports_bootstrap:
            both = self.replicates(arm.with_weights(rows))
            draws = {n: v[num:] for n, v in both.items()} if len(rows) > num else {}
            return {n: v[:num] for n, v in both.items()}, draws
        return self.replicates(arm), self.bootstrap(arm, rows[num:]) if len(rows) > num else {}

    def scores(self, arm: ArmSamples) -> dict[str, Float[Tensor, " samples"]]:
        """Return, by metric name, a value per sample; {} if the metric is of sets alone."""
        return {}

    def count_scales(self, arm: ArmSamples) -> dict[str, float]:
        """Return, by metric name, s if the value is s times the fraction of samples with score s.

        The other scores are 0. Such values have intervals of proportions
        (routing.statistics.proportions).
        """
        return {}

    def note(self, arm: ArmSamples) -> str:
        """Return a sentence about how far the values can be trusted; "" if there is no caveat."""
        return ""

    def full_note(self, arm: ArmSamples) -> str:
        """Return `note`, preceded by the number of training images if these are not all."""
        note = self.note(arm)
        is_whole = self.fits_all_images or len(arm.point_clusters) >= arm.num_train
        if self.reference_type is None or is_whole:
            return note
        subset = f"with {len(arm.point_clusters)} of {arm.num_train} training images"
        return f"{subset}; {note}" if note else subset


@dataclass(frozen=True)
class FeatureSpaceMetric(Metric):
    """A metric of features.

    `feature_space`: null is `metrics.feature_space`. `num_samples`: the first seeds only, with the
    number in the metric's name; null is all samples.
    """

    feature_space: str | None = None
    num_samples: int | None = None

    def __post_init__(self) -> None:
        """Validate the options."""
        if self.num_samples is not None and self.num_samples < 2:
            raise ValueError(f"wanted num_samples >= 2 or null, got {self.num_samples}; raise it")


@dataclass(frozen=True)
class PerSampleMetric(FeatureSpaceMetric):
    """A metric that is the mean of a score per sample. A subclass writes `scores`."""

    supports_bootstrap: ClassVar[bool] = True

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return the weighted means of the scores."""
        return weighted_means(self.scores(arm), arm.weights)


def weighted_means(
    scores: dict[str, Tensor], weights: Float[Tensor, "replicates samples"]
) -> Replicates:
    """Return the weighted mean of each score for every row of weights, in one matrix product."""
    columns = [score.double() for score in scores.values()]
    sums = weights @ torch.stack([*columns, weights.new_ones(weights.shape[1])], 1)
    return {name: sums[:, i] / sums[:, -1] for i, name in enumerate(scores)}


def stored_fields(reference: Any) -> dict[str, Any]:
    """Return the fields of a reference, except those that hold the real images themselves."""
    parts = {f.name: getattr(reference, f.name) for f in fields(reference)}
    return {name: part for name, part in parts.items() if name not in ("points", "train")}
