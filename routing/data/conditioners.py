"""Conditioners: from the labels and captions of a batch to the condition of a network.

    label   class ranks: the position of a sample's label among the sorted labels of the data
    text    one-hot words of the caption (`routing.data.caption_tokens.Vocabulary`)
    table   tokens that a text encoder computed in the stage text_embeddings
            (`routing.data.caption_tokens.CaptionTable`)

A conditioner is made from the training images (`make`) and stored in the metadata of the weights
that are trained with it (`to_metadata`, `from_metadata`). `options` are the options of the
network's architecture that it needs. A dropped condition becomes the null condition. Of a caption
table the metadata holds the digest alone, so `from_metadata` needs the table, and raises
ValueError on another one.

To add a conditioner, write a frozen dataclass with these methods, whose `kind` is the condition
("label" or "text"), and give it a row in CONDITIONERS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import sha256
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Shaped

from routing.data.caption_tokens import CaptionTable, Vocabulary
from routing.flow.conditions import Condition

Labels = Shaped[np.ndarray, " batch"]


@runtime_checkable
class Conditioner(Protocol):
    """A callable from labels and captions to a condition."""

    kind: ClassVar[str]

    def options(self) -> dict[str, int]:
        """Return the options of the architecture of a network with this condition."""

    def __call__(
        self,
        labels: Labels,
        captions: Sequence[str],
        is_dropped: Bool[np.ndarray, " batch"] | None = None,
    ) -> Condition:
        """Return the condition of a batch, the null condition where it is dropped."""


@dataclass(frozen=True)
class LabelConditioner:
    """Class ranks, in the order of the sorted labels."""

    classes: tuple[Any, ...]
    kind: ClassVar[str] = "label"

    @classmethod
    def of(cls, labels: Labels, captions: Sequence[str]) -> "LabelConditioner":
        """Return the conditioner of all labels that occur."""
        return cls(tuple(np.unique(labels).tolist()))

    def options(self) -> dict[str, int]:
        """Return the number of classes, without the null class."""
        return {"num_classes": len(self.classes)}

    def __call__(self, labels, captions, is_dropped=None) -> Condition:
        """Return the ranks. Raises ValueError on a label that is not one of the classes."""
        known = np.asarray(self.classes)
        rank = np.searchsorted(known, labels).clip(max=len(known) - 1)
        if (known[rank] != labels).any():
            unknown = np.asarray(labels)[known[rank] != labels][0]
            raise ValueError(
                f"label: wanted one of the {len(known)} classes of the training data, got "
                f"{unknown}; train with it or leave its images out"
            )
        if is_dropped is not None:
            rank = np.where(is_dropped, len(known), rank)
        return Condition(label=torch.from_numpy(rank))


@dataclass(frozen=True)
class WordConditioner:
    """One-hot words of captions."""

    words: tuple[str, ...]
    kind: ClassVar[str] = "text"

    @classmethod
    def of(cls, labels: Labels, captions: Sequence[str]) -> "WordConditioner":
        """Return the conditioner of all words that occur."""
        return cls(Vocabulary.of(captions).words)

    def options(self) -> dict[str, int]:
        """Return the number of features of a token, one for each word."""
        return {"text_dim": len(self.words)}

    def __call__(self, labels, captions, is_dropped=None) -> Condition:
        """Return the tokens; a dropped caption is an empty one."""
        text, mask = self._vocabulary(drop_captions(captions, is_dropped))
        return Condition(text=text, text_mask=mask)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.words)


@dataclass(frozen=True)
class CaptionTableConditioner:
    """Tokens of captions that the text encoder named `text` has computed."""

    text: str
    dim: int
    digest: str
    captions: CaptionTable = field(compare=False, repr=False)  # identified by `digest`
    kind: ClassVar[str] = "text"

    @classmethod
    def of(cls, captions: CaptionTable) -> "CaptionTableConditioner":
        """Return the conditioner of a table."""
        return cls(captions.encoder, captions.dim, captions.digest, captions)

    def options(self) -> dict[str, int]:
        """Return the number of features of a token."""
        return {"text_dim": self.dim}

    def __call__(self, labels, captions, is_dropped=None) -> Condition:
        """Return the tokens. Raises ValueError on a caption that is not in the table."""
        text, mask = self.captions(drop_captions(captions, is_dropped))
        return Condition(text=text, text_mask=mask)


CONDITIONERS: dict[str, type] = {
    "label": LabelConditioner,
    "text": WordConditioner,
    "table": CaptionTableConditioner,
}


def drop_captions(captions: Sequence[str], is_dropped: np.ndarray | None) -> Sequence[str]:
    """Return `captions` with empty ones where they are dropped."""
    if is_dropped is None:
        return captions
    return ["" if d else caption for caption, d in zip(captions, is_dropped, strict=True)]


def read_caption_table(job) -> CaptionTable | None:
    """Return the table in the inputs `tokens` and `captions` of a job; None without them."""
    if not job.count("tokens"):
        return None
    tokens, files = job.mapped("tokens"), [job.metadata("tokens"), job.metadata("captions")]
    return CaptionTable(
        job.table("captions")["caption"].tolist(),
        tokens["text"],
        tokens["mask"],
        files[0]["text_encoder"]["name"],
        sha256("".join(file["content"] for file in files).encode()).hexdigest(),
    )


def make(
    condition: str, train: pd.DataFrame, captions: CaptionTable | None = None
) -> Conditioner | None:
    """Return the conditioner for the training images `train`; None if `condition` is "none".

    With a table `captions` a text becomes its tokens, else one-hot words. Raises ValueError if a
    training caption is not in the table.
    """
    if condition == "none":
        return None
    if condition == "text" and captions is not None:
        captions.check_contains(train["caption"].unique())
        return CaptionTableConditioner.of(captions)
    return CONDITIONERS[condition].of(train["label"].to_numpy(), train["caption"].tolist())


def to_metadata(conditioner: Conditioner | None) -> dict[str, Any] | None:
    """Return the conditioner as metadata of an artifact."""
    if conditioner is None:
        return None
    name = next(n for n, kind in CONDITIONERS.items() if type(conditioner) is kind)
    stored = _stored_fields(type(conditioner))
    return {"name": name} | {f.name: getattr(conditioner, f.name) for f in stored}


def from_metadata(
    metadata: dict[str, Any] | None, captions: CaptionTable | None = None
) -> Conditioner | None:
    """Return the conditioner that `to_metadata` stored.

    Raises ValueError unless `captions` is the caption table that it was made with, if any.
    """
    if metadata is None:
        return None
    kind = CONDITIONERS[metadata["name"]]
    options = {f.name: metadata[f.name] for f in _stored_fields(kind)}
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    if kind is not CaptionTableConditioner:
        return kind(**options)
    if captions is None:
        raise ValueError(
            f"captions: wanted the tokens of {metadata['text']!r} that these weights were trained "
            f"with, got none; add --in tokens=PATH captions=PATH"
        )
    made = kind(**options, captions=captions)
    if made != CaptionTableConditioner.of(captions):
        raise ValueError(
            f"captions: wanted the table of {made.text!r} that these weights were trained with "
            f"({made.digest[:12]}), got {captions.digest[:12]} of {captions.encoder!r}; train "
            f"again or restore the table"
        )
    return made


def _stored_fields(kind: type) -> list[Any]:
    return [f for f in fields(kind) if f.compare]
