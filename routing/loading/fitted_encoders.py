"""A fitted encoder applied: values to features, the same for real and for generated samples.

    linear     f(x) = (x - mean) P
    network    f(x) = (n(net(x)) - mean) P,    n the identity or g -> g / ||g||

Without `projection` (identity, or a network whose features are kept whole) P is the identity. The
arrays are those that the stage `encoder` has fitted; its note says the kind, and for a network the
backbone, the sha256 of the weights, which are looked for again where it is applied, and the
precision, which must be the same there: on a GPU `bfloat16` is another network than on a CPU.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from routing.workflow import choices

Arrays = dict[str, np.ndarray]
CPU_BATCH, GPU_BATCH, GPU_BLOCK = 64, 256, 4096
TINY = 1e-12


@runtime_checkable
class Encode(Protocol):
    """float32 features [samples, dim] of values [samples, ...]; `block` of them are a good bite.

    `device` is where the work is done, and `flop_per_image` what it costs (0 for a product).
    """

    dim: int
    block: int
    device: str
    flop_per_image: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Encode."""

    def rows(self, values: np.ndarray) -> Arrays:
        """All that a file of features has of `values`: `features`, and logits if it has any."""


def encode(arrays: Arrays, values: np.ndarray) -> np.ndarray:
    """float32 features [samples, dim] of `values` [samples, ...]."""
    size = int(np.prod(values.shape[1:]))  # of no values, -1 would be open
    flat = values.reshape(len(values), size).astype(np.float64) - arrays["mean"]
    if "projection" in arrays:
        flat = flat @ arrays["projection"]
    return flat.astype(np.float32)


@dataclass(frozen=True)
class Linear:
    """A product; refuses values of another shape than it was fitted on."""

    arrays: Arrays
    shape: tuple[int, ...]
    block: int = 4096
    device: str = "cpu"
    flop_per_image: int = 0

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return self.arrays.get("projection", self.arrays["mean"]).shape[-1]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Encode."""
        if values.shape[1:] != self.shape:
            raise ValueError(
                f"encoder: fitted on samples of shape {list(self.shape)}, got "
                f"{list(values.shape[1:])}; fit it on these"
            )
        return encode(self.arrays, values)

    def rows(self, values: np.ndarray) -> Arrays:
        """The features alone."""
        return {"features": self(values)}


@dataclass(frozen=True)
class Network:
    """A backbone, batch by batch; `arrays` is empty where its features are kept whole."""

    backbone: Any
    normalise: str
    arrays: Arrays

    @property
    def device(self) -> str:
        """Where the backbone is."""
        return self.backbone.device.type

    @property
    def block(self) -> int:
        """A GPU gets several batches at once, so that it need not wait for us in between."""
        return CPU_BATCH if self.device == "cpu" else GPU_BLOCK

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return self.arrays["projection"].shape[1] if self.arrays else self.backbone.dim

    @property
    def flop_per_image(self) -> int:
        """Of the backbone."""
        return self.backbone.flop_per_image

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Encode."""
        return self._fitted(self._plain(values).cpu().numpy())

    def rows(self, values: np.ndarray) -> Arrays:
        """`features`, and of Inception `inception_logits` of the same pass, whatever is fitted."""
        plain = self._plain(values)
        found = {"features": self._fitted(plain.cpu().numpy())}
        if hasattr(self.backbone, "logits"):
            found["inception_logits"] = self.backbone.logits(plain).cpu().numpy()
        return found

    def _plain(self, values: np.ndarray) -> Any:
        """What the backbone says, on its device."""
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
        # Nothing waits for a GPU until all batches are on their way.
        return torch.cat([self.backbone(batch) for batch in batches])

    def _fitted(self, features: np.ndarray) -> np.ndarray:
        if self.normalise == "l2":
            norm = np.linalg.norm(features, axis=1, keepdims=True)
            features = features / np.maximum(norm, TINY)
        return encode(self.arrays, features) if self.arrays else features


def load(arrays: Arrays, notes: dict[str, Any]) -> Encode:
    """The encoder of an artifact of the stage `encoder`: its arrays and its notes.

    Raises ValueError (one line) if a network's weights are missing or are no longer the same.
    """
    note = notes["encoder"]
    if note["kind"] == "linear":
        return Linear(arrays, tuple(note["shape"]))
    assert note["kind"] == "network", note["kind"]
    from routing.pretrained.image_networks import (
        BACKBONES,  # linear ones start in a second without torch
    )

    backbone = choices.build(
        choices.with_plugins("backbones", BACKBONES), note["backbone"], "encoder"
    )
    network = backbone.load()
    if network.sha256 != note["sha256"]:
        raise ValueError(
            f"encoder: {note['backbone']['name']} was fitted with weights of sha256 "
            f"{note['sha256']}, found {network.sha256}; put the old file back or fit it again"
        )
    if network.precision != note["precision"]:
        raise ValueError(
            f"encoder: {note['backbone']['name']} was fitted in {note['precision']}, runs in "
            f"{network.precision} here; fit and use it on the same kind of device, or take "
            f"precision float32"
        )
    return Network(network, note["normalise"], arrays)
