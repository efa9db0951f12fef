"""Fitted encoders: the same map from values to features for real and for generated samples.

    linear     f(x) = (x - mean) P
    network    f(x) = (n(net(x)) - mean) P,    n the identity or g -> g / ||g||

P is the array `projection`; without it, P is the identity. The stage fit_encoder stores the
arrays. The metadata of its artifact holds the kind and, of a network, its options, the sha256 of
its weights and its precision. `load` finds the network again and requires the same weights and
precision: `bfloat16` on a GPU gives other features than `float32` on a CPU.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from routing.workflow import choices

Arrays = dict[str, np.ndarray]
CPU_BATCH, GPU_BATCH, GPU_BLOCK = 64, 256, 4096
TINY = 1e-12


@runtime_checkable
class FittedEncoder(Protocol):
    """A map from values [samples, ...] to float32 features [samples, dim]."""

    dim: int
    block_size: int  # samples that are best encoded in one call
    device: str
    flop_per_image: int  # 0 of a linear map

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the features of `values`."""

    def outputs(self, values: np.ndarray) -> Arrays:
        """Return all arrays that a file of features stores: `features`, and logits if any."""


def apply_linear(arrays: Arrays, values: np.ndarray) -> np.ndarray:
    """Return float32 features [samples, dim] of values [samples, ...]."""
    size = int(np.prod(values.shape[1:]))  # reshape cannot infer -1 from zero samples
    flat = values.reshape(len(values), size).astype(np.float64) - arrays["mean"]
    if "projection" in arrays:
        flat = flat @ arrays["projection"]
    return flat.astype(np.float32)


@dataclass(frozen=True)
class LinearEncoder:
    """A linear map of samples of `shape`. Raises ValueError on samples of another shape."""

    arrays: Arrays
    shape: tuple[int, ...]
    block_size: int = 4096
    device: str = "cpu"
    flop_per_image: int = 0

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return self.arrays.get("projection", self.arrays["mean"]).shape[-1]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the features of `values`."""
        if values.shape[1:] != self.shape:
            raise ValueError(
                f"encoder: fitted on samples of shape {list(self.shape)}, got "
                f"{list(values.shape[1:])}; fit it on these"
            )
        return apply_linear(self.arrays, values)

    def outputs(self, values: np.ndarray) -> Arrays:
        """Return the features alone."""
        return {"features": self(values)}


@dataclass(frozen=True)
class NetworkEncoder:
    """A pretrained network, evaluated batch by batch; `arrays` is empty without a projection."""

    backbone: Any
    normalise: str
    arrays: Arrays

    @property
    def device(self) -> str:
        """Type of the device that holds the network."""
        return self.backbone.device.type

    @property
    def block_size(self) -> int:
        """Samples per call: several batches on a GPU, so that it does not wait between them."""
        return CPU_BATCH if self.device == "cpu" else GPU_BLOCK

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return self.arrays["projection"].shape[1] if self.arrays else self.backbone.dim

    @property
    def flop_per_image(self) -> int:
        """FLOPs of one evaluation of the network."""
        return self.backbone.flop_per_image

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the features of `values`."""
        return self._fitted(self._evaluate(values).cpu().numpy())

    def outputs(self, values: np.ndarray) -> Arrays:
        """Return `features` and, of Inception, `inception_logits` of the same forward pass."""
        plain = self._evaluate(values)
        found = {"features": self._fitted(plain.cpu().numpy())}
        if hasattr(self.backbone, "logits"):
            found["inception_logits"] = self.backbone.logits(plain).cpu().numpy()
        return found

    def _evaluate(self, values: np.ndarray) -> Any:
        """Return the outputs of the network, on its device."""
        import torch

        if values.ndim != 4:
            raise ValueError(
                f"encoder: a network wants images [channels, height, width], got samples of shape "
                f"{list(values.shape[1:])}; use pca or identity"
            )
        if not len(values):
            return torch.zeros(0, self.backbone.dim, device=self.backbone.device)
        size = CPU_BATCH if self.device == "cpu" else GPU_BATCH
        batches = torch.from_numpy(np.ascontiguousarray(values)).split(size)
        # The results stay on the GPU until all batches are queued.
        return torch.cat([self.backbone(batch) for batch in batches])

    def _fitted(self, features: np.ndarray) -> np.ndarray:
        """Return the features normalised, then projected."""
        if self.normalise == "l2":
            norm = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.maximum(norm, TINY)
        return apply_linear(self.arrays, features) if self.arrays else features


def linear_metadata(shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the metadata from which `load` makes a LinearEncoder of samples of `shape`."""
    return {"kind": "linear", "shape": list(shape), "precision": "float64"}


def network_metadata(network: Any, options: dict, normalise: str, dim: int) -> dict[str, Any]:
    """Return the metadata from which `load` makes a NetworkEncoder.

    `options` is the dictionary {name: ..., options} of the network in its table.
    """
    return {
        "kind": "network",
        "backbone": options,
        "sha256": network.sha256,
        "input_size": network.size,
        "resize": f"{network.resize}_{network.size}",
        "precision": network.precision,
        "normalise": normalise,
        "dim": dim,
        "flop_per_image": network.flop_per_image,
    }


def load(arrays: Arrays, metadata: dict[str, Any]) -> FittedEncoder:
    """Return the encoder of an artifact of the stage fit_encoder: its arrays and its metadata.

    Raises ValueError if the weights of a network are missing or are not those of the fit.
    """
    fitted = metadata["encoder"]
    if fitted["kind"] == "linear":
        return LinearEncoder(arrays, tuple(fitted["shape"]))
    assert fitted["kind"] == "network", fitted["kind"]
    # Imported here: without torch, linear encoders start in a second.
    from routing.pretrained.image_networks import BACKBONES

    backbone = choices.build(
        choices.with_plugins("backbones", BACKBONES), fitted["backbone"], "encoder"
    )
    network = backbone.load()
    if network.sha256 != fitted["sha256"]:
        raise ValueError(
            f"encoder: {fitted['backbone']['name']} was fitted with weights of sha256 "
            f"{fitted['sha256']}, got {network.sha256}; put the old file back or fit it again"
        )
    if network.precision != fitted["precision"]:
        raise ValueError(
            f"encoder: {fitted['backbone']['name']} was fitted in {fitted['precision']}, runs in "
            f"{network.precision} here; fit and use it on the same kind of device, or set "
            f"precision to float32"
        )
    return NetworkEncoder(network, fitted["normalise"], arrays)
