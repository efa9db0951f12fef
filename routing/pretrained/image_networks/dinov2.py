"""DINOv2 from the published files; features equal the reference up to rounding."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.backbone import (
    IMAGENET,
    Backbone,
    Precision,
    Resize,
    State,
)
from routing.pretrained.weight_files import load_weights, read_tensors
from routing.workflow.choices import Sha256

PATCH = 14


@dataclass(frozen=True)
class DINOv2:
    """DINOv2 ViT/14 without registers (arXiv:2304.07193); the class token after the final norm.

    `weights` is a file in the layout of the published ones, or an id of the manifest; null: that
    of `size`. Position embeddings are resized to `image_size` as in the published code
    (`resize_positions`). Published numbers are in float32, by EDM2 with `bicubic_antialias` and by
    dgm-eval with `bicubic_pil`.
    """

    size: Literal["small", "base", "large", "giant"] = "large"
    weights: str | None = None
    sha256: Sha256 | None = None
    image_size: int = 224
    resize: Resize = "bicubic_antialias"
    precision: Precision = "bfloat16"

    def __post_init__(self) -> None:
        """Validate the options."""
        if self.image_size < PATCH or self.image_size % PATCH:
            raise ValueError(
                f"dinov2: image_size: wanted a multiple of {PATCH}, got {self.image_size}; use "
                f"{max(1, round(self.image_size / PATCH)) * PATCH}"
            )

    def load(self) -> Backbone:
        """Return the network with its weights."""
        import timm

        path = weights.locate(self.weights or f"dinov2-{self.size}", sha256=self.sha256)
        state = to_timm_names(read_tensors(path), self.image_size)
        with torch.device("meta"):  # no random initialisation
            net = timm.create_model(
                f"vit_{self.size}_patch14_dinov2", num_classes=0, img_size=self.image_size
            )
        load_weights(net, state, f"dinov2: {path}")
        sha256 = weights.sha256_of(path)
        return Backbone(net, self.image_size, *IMAGENET, sha256, self.precision, self.resize)


def to_timm_names(state: State, image_size: int) -> State:
    """Return the tensors of a published file under timm's names, resized to `image_size`."""
    names = {
        name: name.replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2") for name in state
    }
    state = {names[name]: value for name, value in state.items() if name != "mask_token"}
    if "pos_embed" in state:  # else load_weights reports that it is missing
        state["pos_embed"] = resize_positions(state["pos_embed"], image_size // PATCH)
    return state


def resize_positions(
    embedding: Float[Tensor, "1 tokens dim"], grid: int
) -> Float[Tensor, "1 new dim"]:
    """Return position embeddings for `grid` x `grid` patches, class token first.

    As in the published code: bicubic without antialias, by a scale factor with an offset of 0.1,
    which was meant against rounding and moves the sampling points. A grid of the stored size is
    returned unchanged.
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if side == grid:
        return embedding
    first, rest = embedding[:, :1], embedding[:, 1:]
    plane = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = (grid + 0.1) / side
    plane = F.interpolate(plane, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    assert plane.shape[2:] == (grid, grid), "the offset keeps floor(side * scale) at the grid"
    return torch.cat([first, plane.permute(0, 2, 3, 1).flatten(1, 2)], 1)
