"""Features of pretrained image networks, of full length or projected on principal components."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np

from routing.loading.feature_encoders import principal_components
from routing.loading.feature_encoders.fitted_encoders import NetworkEncoder, network_metadata
from routing.loading.feature_encoders.fitting_samples import (
    Arrays,
    FittingSamples,
    check_max_fit,
)
from routing.pretrained import image_networks
from routing.workflow import choices
from routing.workflow.progress import progress_bar


@dataclass(frozen=True)
class PretrainedNetwork:
    """Options of an encoder by a pretrained network, beside those of the network itself.

    `normalise` is applied first (`l2`: to unit length, so that distances are angles). With `dim`,
    the features are then projected on their first `dim` principal components, without whitening:
    distances lose only the components that are left out.
    """

    dim: int | None = None
    normalise: Literal["none", "l2"] = "none"
    max_fit: int = 100_000
    backbone: ClassVar[str]

    def __post_init__(self) -> None:
        """Validate the options, those of the network included."""
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"{self.backbone} wants dim >= 1 or null, got {self.dim}; raise it")
        check_max_fit(self.backbone, self.max_fit)
        if hasattr(super(), "__post_init__"):
            super().__post_init__()

    def fit(self, samples: FittingSamples) -> tuple[Arrays, dict[str, Any]]:
        """Return the projection (no arrays without `dim`) and what identifies the network.

        Raises ValueError if the weights are missing or the samples are no images.
        """
        table = choices.with_plugins("backbones", image_networks.BACKBONES)
        kind = table[self.backbone]
        backbone = kind(**{f.name: getattr(self, f.name) for f in fields(kind)})
        network = backbone.load()
        most = min(len(samples), network.dim)
        if self.dim is not None and self.dim > most:
            raise ValueError(f"{self.backbone} wants dim <= {most} here, got {self.dim}; lower it")
        encode = NetworkEncoder(network, self.normalise, {})
        encode(next(samples.blocks(1)))  # samples that are no images fail here, not in each shard
        metadata = network_metadata(
            network, choices.describe(table, backbone), self.normalise, self.dim or network.dim
        )
        if self.dim is None:
            return {}, metadata
        features = _features(encode, samples)
        mean, directions, _ = principal_components.by_covariance(features, self.dim)
        return {"mean": mean, "projection": directions.T}, metadata


@dataclass(frozen=True)
class Inception(PretrainedNetwork, image_networks.Inception):
    """The pooled units of Inception-v3, in float32, with the logits of the Inception score."""

    backbone: ClassVar[str] = "inception"


@dataclass(frozen=True)
class DINOv2(PretrainedNetwork, image_networks.DINOv2):
    """The class token of a DINOv2 after the final layer norm, by default of unit length."""

    normalise: Literal["none", "l2"] = "l2"
    backbone: ClassVar[str] = "dinov2"


@dataclass(frozen=True)
class CLIP(PretrainedNetwork, image_networks.CLIP):
    """The projected image embedding of a CLIP, by default of unit length."""

    normalise: Literal["none", "l2"] = "l2"
    backbone: ClassVar[str] = "clip"


@dataclass(frozen=True)
class Timm(PretrainedNetwork, image_networks.Timm):
    """The pooled features of any network of timm, from a local file."""

    backbone: ClassVar[str] = "timm"


def _features(encode: NetworkEncoder, samples: FittingSamples) -> Iterator[np.ndarray]:
    progress = progress_bar("encoder", len(samples))
    for block in samples.blocks(encode.block_size):
        yield encode(block)
        progress.update(len(block))
