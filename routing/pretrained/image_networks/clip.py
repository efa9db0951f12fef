"""The image towers of CLIP: OpenAI's archives, or any file in the layout of open_clip."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from routing.pretrained import manifest as weights
from routing.pretrained.image_networks.network import OPENAI, Backbone, Precision, Resize, loaded
from routing.pretrained.weight_files import tensors
from routing.workflow.choices import Sha256

CLIP_WEIGHTS = {
    "ViT-B-32-quickgelu": "clip-vit-b-32",
    "ViT-L-14-quickgelu": "clip-vit-l-14",
    "ViT-L-14-336-quickgelu": "clip-vit-l-14-336",
}


@dataclass(frozen=True)
class CLIP:
    """The image tower of a CLIP (arXiv:2103.00020) under its name in open_clip; projected.

    `weights` is a file or an id of the manifest (null: OpenAI's for its three models). OpenAI's
    weights want a `-quickgelu` model and are refused without. Features are not normalised here.
    Published numbers are in float32 by `bicubic_pil`: so resizes open_clip, and the official code
    of CMMD where it reads the files (both cut to the middle square first, here nothing is cut).
    Values that are no bytes want `bicubic_antialias`, by which features are others by 1 to 2 in
    1000 (random weights, photographs of 32 to 427 pixels).
    """

    model: str = "ViT-B-32-quickgelu"
    weights: str | None = None
    sha256: Sha256 | None = None
    resize: Resize = "bicubic_antialias"
    precision: Precision = "bfloat16"

    def load(self) -> Backbone:
        """The tower with its weights."""
        import open_clip

        config, path = self.found()
        state = {
            name.removeprefix("visual."): value
            for name, value in tensors(path).items()
            if name.startswith("visual.")
        }
        vision, is_quick = config["vision_cfg"], bool(config.get("quick_gelu"))
        with torch.device("meta"):
            net = open_clip.model._build_vision_tower(config["embed_dim"], vision, is_quick)
        loaded(net, state, f"clip: {path}")
        sha256 = weights.sha256_of(path)
        size = vision["image_size"]
        return Backbone(net, size, *OPENAI, sha256, self.precision, self.resize)

    def found(self) -> tuple[dict[str, Any], Path]:
        """The configuration of the model, and the file of its weights, which fit together.

        Raises ValueError (one line) if they do not, as far as can be told without reading them.
        """
        import open_clip

        try:
            config = open_clip.get_model_config(self.model)
        except FileNotFoundError as error:  # of a folder, local-dir:...
            raise ValueError(
                f"clip: wanted the model {self.model!r} in a folder, got no {error.filename}; "
                f"correct the path"
            ) from None
        vision = (config or {}).get("vision_cfg", {})
        if config is None or "timm_model_name" in vision or isinstance(vision["layers"], list):
            raise ValueError(
                f"clip: wanted a model of open_clip with its own ViT tower, got {self.model!r}; "
                f"take one of {', '.join(CLIP_WEIGHTS)}, or the backbone timm for timm's towers"
            )
        if self.weights is None and self.model not in CLIP_WEIGHTS:
            raise ValueError(f"clip: no weights are known for {self.model!r}; give a file")
        path = weights.locate(self.weights or CLIP_WEIGHTS[self.model], sha256=self.sha256)
        of_openai = {weights.entry(name).files[0].sha256 for name in CLIP_WEIGHTS.values()}
        if not config.get("quick_gelu") and weights.sha256_of(path) in of_openai:
            raise ValueError(
                f"clip: {path} are OpenAI's weights and want the activation of a -quickgelu "
                f"model, got {self.model!r}; take {self.model}-quickgelu"
            )
        return config, path
