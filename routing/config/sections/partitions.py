"""The section `partitions`: divisions of the training images into clusters."""

from typing import Literal

from routing.config.registries import choice
from routing.config.sections.base import Name, Section

Method = choice("partitions")


class Partition(Section):
    """A division of the training images into clusters; one expert is trained on each cluster."""

    encoder: Name
    """The encoder (a key of `encoders`) in whose feature space the images are divided."""
    method: Method
    """The clustering method: a row of the table in routing/stages/partition.py."""
    condition: Literal["none", "label", "text"] = "none"
    """What the experts are conditioned on. It is dropped for a fraction of each batch."""
