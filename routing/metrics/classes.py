"""What a classifier sees in the samples."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from routing.metrics.base import InSpace, Kind, PerSample, Replicates, View
from routing.metrics.compared import SHARES, compared
from routing.metrics.formulas.category_shares import shares
from routing.metrics.formulas.inception_score import fidelity_order, inception_score

NUM_SPLITS = 10  # as published


@dataclass(frozen=True)
class ClassShares(InSpace):
    """Shares of the classes the classifier sees; total variation and KL from the data's shares.

    Shares have no direction, both distances are better lower, from 0. KL is infinite, and then has
    no row, where a sample falls in a class that the training images do not have.
    """

    kinds: ClassVar = {f"class_{kind}": of for kind, of in SHARES.items()}
    resamples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a number of samples, which would be in no name."""
        super().__post_init__()
        if (num := self.num_samples) is not None:
            raise ValueError(f"wanted all samples, got num_samples {num}; take it out")

    def replicates(self, view: View) -> Replicates:
        """`class_share_<label>` for every label, `class_tv`, `class_kl` (nats)."""
        refuse_no_classes("class_shares", view)
        names = view.class_names
        p = shares(view.classes, len(names), view.weights)
        return compared("class", names, p, view.class_shares)


@dataclass(frozen=True)
class Agreement(PerSample):
    """Share of the samples in which the classifier sees the class that was asked for.

    Higher is better, in [0, 1]; of arms that ask for a label, and of held-out images.
    """

    kinds: ClassVar = {"agreement": Kind(1, 0, 1)}

    def scores(self, view: View) -> dict[str, Tensor]:
        """1 where it sees it, else 0; nothing for an arm that asks for nothing."""
        if view.requested is None:
            return {}
        refuse_no_classes("agreement", view)
        return {view.named("agreement"): (view.classes == view.requested).double()}


@dataclass(frozen=True)
class InceptionScore(InSpace):
    """Inception score, torch-fidelity's convention (10 splits); higher is better, from 1.

    It falls with fewer samples per split: compare at equal numbers of samples and splits.
    """

    num_splits: int = NUM_SPLITS

    kinds: ClassVar = {"inception_score": Kind(1, 1, 1008)}
    resamples: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse no splits."""
        super().__post_init__()
        if self.num_splits < 1:
            raise ValueError(f"wanted num_splits >= 1, got {self.num_splits}; 10 is usual")

    def departures(self, kind: str) -> tuple[str, ...]:
        """Another number of splits."""
        return (f"splits{self.num_splits}",) if self.num_splits != NUM_SPLITS else ()

    def replicates(self, view: View) -> Replicates:
        """One value per replicate."""
        order = fidelity_order(len(view.features))
        value = inception_score(view.logits, order, self.num_splits, view.weights)
        return {view.named("inception_score"): value}


def refuse_no_classes(name: str, view: View) -> None:
    """Raise ValueError if the classifier tells no classes."""
    if view.classes is None:
        raise ValueError(
            f"metrics: {name!r} wants a classifier with classes, got one without; take a "
            f"classifier or leave the metric out"
        )
