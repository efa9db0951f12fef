"""The image towers of CLIP, from OpenAI's archives or a file in the layout of open_clip."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.backbone import OPENAI, Backbone, Precision, Resize
from routing.pretrained.weight_files import load_weights, read_tensors
from routing.workflow.choices import Sha256

CLIP_WEIGHTS = {
    "ViT-B-32-quickgelu": "clip-vit-b-32",
    "ViT-L-14-quickgelu": "clip-vit-l-14",
    "ViT-L-14-336-quickgelu": "clip-vit-l-14-336",
}


@dataclass(frozen=True)
class CLIP:
    """The image tower of a CLIP (arXiv:2103.00020), named as in open_clip, with its projection.

    `weights` is a file or an id of the manifest; null: OpenAI's, for its three models. OpenAI's
    weights need a `-quickgelu` model. Features are not normalised here. Published numbers are in
    float32 with `bicubic_pil`, as open_clip and the official code of CMMD resize files (both crop
    to the central square first; here nothing is cropped). Values that are not bytes need
    `bicubic_antialias`, which changes features by 0.1 to 0.2 % (random weights, photographs of 32
    to 427 pixels).
    """

    model: str = "ViT-B-32-quickgelu"
    weights: str | None = None
    sha256: Sha256 | None = None
    resize: Resize = "bicubic_antialias"
    precision: Precision = "bfloat16"

    def load(self) -> Backbone:
        """Return the tower with its weights."""
        import open_clip

        config, path = self.locate()
        state = {
            name.removeprefix("visual."): value
            for name, value in read_tensors(path).items()
            if name.startswith("visual.")
        }
        vision, is_quick = config["vision_cfg"], bool(config.get("quick_gelu"))
        with torch.device("meta"):
            net = open_clip.model._build_vision_tower(config["embed_dim"], vision, is_quick)
        load_weights(net, state, f"clip: {path}")
        sha256 = weights.sha256_of(path)
        size = vision["image_size"]
        return Backbone(net, size, *OPENAI, sha256, self.precision, self.resize)

    def locate(self) -> tuple[dict[str, Any], Path]:
        """Return the configuration of the model and the file of its weights.

        Raises ValueError if they do not fit, as far as can be seen without reading the weights.
        """
        import open_clip

        try:
            config = open_clip.get_model_config(self.model)
        except FileNotFoundError as error:  # the name of a folder, local-dir:...
            raise ValueError(
                f"clip: wanted the model {self.model!r} in a folder, got no {error.filename}; "
                f"correct the path"
            ) from None
        vision = (config or {}).get("vision_cfg", {})
        if config is None or "timm_model_name" in vision or isinstance(vision["layers"], list):
            raise ValueError(
                f"clip: wanted an open_clip model with its own ViT tower, got {self.model!r}; "
                f"use one of {', '.join(CLIP_WEIGHTS)}, or the encoder timm for timm's towers"
            )
        if self.weights is None and self.model not in CLIP_WEIGHTS:
            raise ValueError(
                f"clip: wanted a file of weights for {self.model!r}, because the manifest has "
                f"none, got none; set `weights`"
            )
        path = weights.locate(self.weights or CLIP_WEIGHTS[self.model], sha256=self.sha256)
        openai = {weights.entry(name).files[0].sha256 for name in CLIP_WEIGHTS.values()}
        if not config.get("quick_gelu") and weights.sha256_of(path) in openai:
            raise ValueError(
                f"clip: {path} has OpenAI's weights, which need a -quickgelu model, got "
                f"{self.model!r}; use {self.model}-quickgelu"
            )
        return config, path
