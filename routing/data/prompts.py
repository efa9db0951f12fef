"""Prompts: what the index says of a sample, as the condition that a network is told.

    label   the class: the rank of the sample's label among those of the data
    text    the caption, as words (routing.flow.conditions.Vocabulary), or, where a text encoder
    has
    table   made tokens of all captions (stage captions), as those
    (routing.flow.conditions.Captions)

A prompter is made once (`make`), travels in the notes of the weights that were trained with it
(`note`, `of_note`), and says what a network needs to be told so (`options`). Of a table the note
has the digest alone: `of_note` wants the table, and refuses another. A dropped prompt is the null
condition. To add one, write a frozen dataclass with these methods, whose `kind` is what it is a
condition of, and give it a row in PROMPTERS; `none` is no prompter.
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

from routing.flow.conditions import Captions, Condition, Vocabulary

Labels = Shaped[np.ndarray, " batch"]


@runtime_checkable
class Prompter(Protocol):
    """What a prompter offers."""

    kind: ClassVar[str]

    def options(self) -> dict[str, int]:
        """What the architecture of a network that is told these prompts must have."""

    def __call__(
        self,
        labels: Labels,
        captions: Sequence[str],
        is_dropped: Bool[np.ndarray, " batch"] | None = None,
    ) -> Condition:
        """The condition of a batch, the null condition where it is dropped."""


@dataclass(frozen=True)
class LabelPrompter:
    """Classes in the order of the sorted labels."""

    classes: tuple[Any, ...]
    kind: ClassVar[str] = "label"

    @classmethod
    def of(cls, labels: Labels, captions: Sequence[str]) -> "LabelPrompter":
        """All labels that occur."""
        return cls(tuple(np.unique(labels).tolist()))

    def options(self) -> dict[str, int]:
        """One class for each label; the null class comes on top."""
        return {"num_classes": len(self.classes)}

    def __call__(self, labels, captions, is_dropped=None) -> Condition:
        """Ranks. Raises ValueError on a label that is none of the classes."""
        known = np.asarray(self.classes)
        rank = np.searchsorted(known, labels).clip(max=len(known) - 1)
        if (known[rank] != labels).any():
            stranger = np.asarray(labels)[known[rank] != labels][0]
            raise ValueError(
                f"label {stranger} is none of the {len(known)} classes of the training data; "
                f"train with it or leave it out"
            )
        if is_dropped is not None:
            rank = np.where(is_dropped, len(known), rank)
        return Condition(label=torch.from_numpy(rank))


@dataclass(frozen=True)
class TextPrompter:
    """Captions as words."""

    words: tuple[str, ...]
    kind: ClassVar[str] = "text"

    @classmethod
    def of(cls, labels: Labels, captions: Sequence[str]) -> "TextPrompter":
        """All words that occur."""
        return cls(Vocabulary.of(captions).words)

    def options(self) -> dict[str, int]:
        """A feature for each word."""
        return {"text_dim": len(self.words)}

    def __call__(self, labels, captions, is_dropped=None) -> Condition:
        """Tokens; a dropped caption is an empty one."""
        text, mask = self._vocabulary(kept(captions, is_dropped))
        return Condition(text=text, text_mask=mask)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.words)


@dataclass(frozen=True)
class TablePrompter:
    """Captions as the tokens that a text encoder has made of them."""

    text: str  # the encoder's name in routing.texts
    dim: int
    digest: str
    captions: Captions = field(compare=False, repr=False)  # not of the note: `digest` says which
    kind: ClassVar[str] = "text"

    @classmethod
    def of(cls, captions: Captions) -> "TablePrompter":
        """Of this table."""
        return cls(captions.encoder, captions.dim, captions.digest, captions)

    def options(self) -> dict[str, int]:
        """The features of a token."""
        return {"text_dim": self.dim}

    def __call__(self, labels, captions, is_dropped=None) -> Condition:
        """Tokens. Raises ValueError on a caption that is not in the table."""
        text, mask = self.captions(kept(captions, is_dropped))
        return Condition(text=text, text_mask=mask)


PROMPTERS: dict[str, type] = {
    "label": LabelPrompter,
    "text": TextPrompter,
    "table": TablePrompter,
}


def kept(captions: Sequence[str], is_dropped: np.ndarray | None) -> Sequence[str]:
    """`captions`, empty where dropped."""
    if is_dropped is None:
        return captions
    return ["" if d else caption for caption, d in zip(captions, is_dropped, strict=True)]


def captions_of(job) -> Captions | None:
    """The table of captions that a job was given; None without its inputs `tokens`, `captions`."""
    if not job.count("tokens"):
        return None
    tokens, notes = job.mapped("tokens"), [job.metadata("tokens"), job.metadata("captions")]
    return Captions(
        job.table("captions")["caption"].tolist(),
        tokens["text"],
        tokens["mask"],
        notes[0]["text_encoder"]["name"],
        sha256("".join(note["content"] for note in notes).encode()).hexdigest(),
    )


def make(condition: str, train: pd.DataFrame, captions: Captions | None = None) -> Prompter | None:
    """The prompter for these training images; None for the condition `none`.

    Texts are told from the table `captions` where there is one, else as words. Raises ValueError
    if a training caption is not in the table.
    """
    if condition == "none":
        return None
    if condition == "text" and captions is not None:
        captions.refuse_unknown(train["caption"].unique())
        return TablePrompter.of(captions)
    return PROMPTERS[condition].of(train["label"].to_numpy(), train["caption"].tolist())


def note(prompter: Prompter | None) -> dict[str, Any] | None:
    """The prompter for the notes of an artifact."""
    if prompter is None:
        return None
    name = next(n for n, kind in PROMPTERS.items() if type(prompter) is kind)
    return {"name": name} | {f.name: getattr(prompter, f.name) for f in _noted(type(prompter))}


def of_note(noted: dict[str, Any] | None, captions: Captions | None = None) -> Prompter | None:
    """The prompter that `note` wrote, with the table `captions` if it was made with one.

    Raises ValueError without that table, and with another.
    """
    if noted is None:
        return None
    kind = PROMPTERS[noted["name"]]
    options = {f.name: noted[f.name] for f in _noted(kind)}
    options = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    if kind is not TablePrompter:
        return kind(**options)
    if captions is None:
        raise ValueError(
            f"captions: wanted the tokens of {noted['text']!r}, which these weights were trained "
            f"with, got none; add --in tokens=PATH captions=PATH"
        )
    made = kind(**options, captions=captions)
    if made != TablePrompter.of(captions):
        raise ValueError(
            f"captions: wanted the table of {made.text!r} that these weights were trained with, "
            f"{made.digest[:12]}, got {captions.digest[:12]} of {captions.encoder!r}; train again "
            f"or put it back"
        )
    return made


def _noted(kind: type) -> list[Any]:
    return [f for f in fields(kind) if f.compare]
