"""The text towers of CLIP, from the file that the image tower comes from."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from routing.pretrained import manifest
from routing.pretrained.image_networks.clip import CLIP
from routing.pretrained.image_networks.network import loaded
from routing.pretrained.weight_files import tensors
from routing.workflow import devices

OF_BOTH = {"logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size"}


class TextTower:
    """A text tower in eval mode with its tokenizer, float32, on the GPU if there is one."""

    def __init__(self, net: nn.Module, tokenizer: Any, dim: int, sha256: str):
        """Move `net` to its device."""
        self.device, self.dim, self.sha256 = devices.best(), dim, sha256
        self.net = net.eval().requires_grad_(False).to(self.device)
        self.tokenizer, self.num_pieces = tokenizer, tokenizer.context_length

    @classmethod
    def load(cls, clip: CLIP) -> "TextTower":
        """The tower that belongs to the image tower `clip`; offline.

        Raises ValueError (one line) on a model whose tower or tokenizer is another library's, and
        on a file without the tower.
        """
        import open_clip

        config, path = clip.found()
        text, is_quick = config["text_cfg"], bool(config.get("quick_gelu"))
        if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
            raise ValueError(
                f"clip: wanted a model with open_clip's own text tower and tokenizer, got "
                f"{clip.model!r}; take another, or leave clip_score out"
            )
        with torch.device("meta"):
            net = open_clip.model._build_text_tower(config["embed_dim"], text, is_quick)
        if net.attn_mask is not None:  # made, not stored
            net.attn_mask = net.build_causal_mask()
        state = {
            name.removeprefix("text."): value  # of the layout with both towers apart
            for name, value in tensors(path).items()
            if not name.startswith("visual.") and name not in OF_BOTH
        }
        loaded(net, state, f"clip: {path}")
        tokenizer = open_clip.SimpleTokenizer(context_length=net.context_length)
        return cls(net, tokenizer, config["embed_dim"], manifest.sha256_of(path))

    def lengths(self, captions: Sequence[str]) -> Int[Tensor, " captions"]:
        """Word pieces of each, start and end among them; the rest above `num_pieces` is cut."""
        return torch.tensor([len(self.tokenizer.encode(c)) + 2 for c in captions], dtype=torch.int)

    def __call__(self, captions: Sequence[str]) -> Float[Tensor, "captions dim"]:
        """Projected embeddings as the tower gives them, not normalised; on its device."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self.net(self.tokenizer(list(captions)).to(self.device))
