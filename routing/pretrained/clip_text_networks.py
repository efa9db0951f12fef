"""The text towers of CLIP, from the same file as the image tower."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from routing.pretrained import manifest
from routing.pretrained.image_networks.clip import CLIP
from routing.pretrained.weight_files import load_weights, read_tensors
from routing.workflow import devices

NOT_TEXT = {"logit_scale", "logit_bias", "input_resolution", "context_length", "vocab_size"}


class TextTower:
    """A text tower with its tokenizer, in float32, on the GPU if there is one."""

    def __init__(self, net: nn.Module, tokenizer: Any, dim: int, sha256: str):
        self.device, self.dim, self.sha256 = devices.best_device(), dim, sha256
        self.net = net.eval().requires_grad_(False).to(self.device)
        self.tokenizer, self.num_pieces = tokenizer, tokenizer.context_length

    @classmethod
    def load(cls, clip: CLIP) -> "TextTower":
        """Return the text tower that belongs to the image tower `clip`.

        Raises ValueError if the tower or the tokenizer is of another library, or if the file does
        not have the tower.
        """
        import open_clip

        config, path = clip.locate()
        text, is_quick = config["text_cfg"], bool(config.get("quick_gelu"))
        if text.get("hf_model_name") or text.get("hf_tokenizer_name"):
            raise ValueError(
                f"clip: wanted a model with open_clip's own text tower and tokenizer, got "
                f"{clip.model!r}; use another, or remove clip_score"
            )
        with torch.device("meta"):
            net = open_clip.model._build_text_tower(config["embed_dim"], text, is_quick)
        if net.attn_mask is not None:  # computed, not stored
            net.attn_mask = net.build_causal_mask()
        state = {
            name.removeprefix("text."): value  # of files that store the towers separately
            for name, value in read_tensors(path).items()
            if not name.startswith("visual.") and name not in NOT_TEXT
        }
        load_weights(net, state, f"clip: {path}")
        tokenizer = open_clip.SimpleTokenizer(context_length=net.context_length)
        return cls(net, tokenizer, config["embed_dim"], manifest.sha256_of(path))

    def lengths(self, captions: Sequence[str]) -> Int[Tensor, " captions"]:
        """Return the number of word pieces with start and end, before truncation."""
        return torch.tensor([len(self.tokenizer.encode(c)) + 2 for c in captions], dtype=torch.int)

    def __call__(self, captions: Sequence[str]) -> Float[Tensor, "captions dim"]:
        """Return the projected embeddings, not normalised, on the device of the tower."""
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self.net(self.tokenizer(list(captions)).to(self.device))
