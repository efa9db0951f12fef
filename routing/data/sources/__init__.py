"""Sources of samples and images, one kind per file.

To add a source, write a frozen dataclass with the methods of `InMemorySource` (its samples are
stored unchanged) or of `StreamedSource` (its images are decoded by the image rule), and give it a
row in SOURCES.
"""

from routing.data.sources.base import InMemorySource, Item, Samples, StreamedSource, shard_range
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

__all__ = [
    "SOURCES",
    "Digits",
    "InMemorySource",
    "Item",
    "MixtureSource",
    "Samples",
    "StreamedSource",
    "shard_range",
]
