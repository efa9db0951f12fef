"""The section `data`: the source of the images and how they become samples."""

from typing import Literal

from pydantic import Field

from routing.config.registries import choice
from routing.config.sections.base import Section

Source = choice("sources")


class Image(Section):
    """How encoded images are cropped and resized to squares (routing/data/decoding.py)."""

    size: int = Field(ge=1)
    """Side of the square in pixels."""
    filter: Literal["lanczos", "area", "bicubic"] = "lanczos"
    """Antialiased resampling filter."""
    min_side: int = Field(default=8, ge=1)
    """Images with a shorter side, in pixels, are rejected."""
    max_pixels: int = Field(default=89_478_485, ge=1)
    """Images with more pixels are rejected."""


class Data(Section):
    """The images, and the fraction that is held out from training."""

    source: Source
    """Where the images come from: a row of the table in routing/data/sources/__init__.py."""
    heldout_fraction: float = Field(gt=0, lt=1)
    """Fraction of the images of every label that is held out from all training."""
    image: Image | None = None
    """How encoded images are cropped and resized. Null: the source has samples of one size."""
    num_shards: int = Field(default=1, ge=1, le=100_000)
    """Number of files that the samples are split into; each is written by a job of its own."""
    max_rejected_fraction: float = Field(default=0.01, ge=0, lt=1)
    """Largest fraction of images that may be rejected; the run stops if there are more."""
