"""Sources: where samples and images come from, a kind per file.

To add one, write a frozen dataclass with the methods of `Ready` (its samples are stored as they
are) or of `Streamed` (its images are decoded by the image rule) and give it a row in SOURCES;
the tests find it there.
"""

from routing.data.sources.base import Item, Ready, Samples, Streamed, share
from routing.data.sources.digits import Digits
from routing.data.sources.hf_disk import HfDisk
from routing.data.sources.image_folder import ImageFolder
from routing.data.sources.mixture import MixtureSource
from routing.data.sources.parquet import Parquet
from routing.data.sources.webdataset import WebDataset

SOURCES = {
    "digits": Digits,
    "mixture": MixtureSource,
    "parquet": Parquet,
    "image_folder": ImageFolder,
    "webdataset": WebDataset,
    "hf_disk": HfDisk,
}

__all__ = ["SOURCES", "Digits", "Item", "MixtureSource", "Ready", "Samples", "Streamed", "share"]
