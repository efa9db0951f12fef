"""The section `metrics`: what is measured, in which feature spaces, with which intervals."""

from typing import Annotated, Literal

from pydantic import Field

from routing.config.registries import choice
from routing.config.sections.base import Name, Section
from routing.workflow import choices

Metric = choice("metrics")


class Lpips(Section):
    """The network of LPIPS, and the pairs of samples that its diversity averages over."""

    net: Literal["alex", "vgg"] = "alex"
    """The trunk: AlexNet or VGG-16."""
    weights: str | None = None
    """File of the trunk, or an id of the manifest of weights. Null: the manifest's file for
    `net`."""
    sha256: choices.Sha256 | None = None
    """The sha256 that the file must have. Null: the one in the manifest. If the sha256 of a file
    is not given, or is not the manifest's, metrics are named lpips_<net>_other."""
    within: Literal["all", "condition"] = "all"
    """`all`: all pairs. `condition`: pairs with the same requested class or prompt; the metric
    is then named lpips_<net>_diversity_within_condition."""


class Metrics(Section):
    """What is measured, in which feature spaces, with which intervals."""

    feature_space: Name
    """The classifier or encoder in whose features metrics are computed, unless a metric names
    another `feature_space`."""
    reference_arm: Name
    """The arm that all other arms are compared with, paired by seed."""
    shares_partition: Name
    """The partition whose clusters the cluster shares count."""
    num_blocks: int = Field(ge=2)
    """Number of blocks of seeds of the jackknife intervals; must divide `samples.num_samples`."""
    num_bootstrap: int = Field(default=200, ge=0)
    """Resamples of the paired bootstrap over seeds. 0: no bootstrap."""
    num_references: int | None = Field(default=None, ge=8)
    """Number of training images that samples are paired with in kernel and neighbour metrics.
    Null: all."""
    lpips: Lpips | None = None
    """The network of the metric `lpips`; required if `list` has it."""
    list: Annotated[list[Metric], Field(min_length=1)]
    """The metrics: rows of the table in routing/metrics/registry.py."""
