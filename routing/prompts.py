"""Prompts: what the index says of a sample, as the condition that a network is told.

    label   the class: the rank of the sample's label among those of the data
    text    the words of its caption (routing.conditions.Vocabulary)

A prompter is made from the index once, travels in the notes of the weights that were trained
with it (`note`, `of_note`), and says what a network needs to be told so (`options`). A dropped
prompt is the null condition. To add a kind, write a frozen dataclass with these methods and give
it a row in PROMPTERS; `none` is no prompter.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Shaped

from routing.conditions import Condition, Vocabulary

Labels = Shaped[np.ndarray, " batch"]


@runtime_checkable
class Prompter(Protocol):
    """What a prompter offers."""

    kind: ClassVar[str]

    @classmethod
    def of(cls, labels: Labels, captions: Sequence[str]) -> "Prompter":
        """The prompter for data with these labels and captions."""

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
        if is_dropped is not None:
            pairs = zip(captions, is_dropped, strict=True)
            captions = ["" if dropped else caption for caption, dropped in pairs]
        text, mask = self._vocabulary(captions)
        return Condition(text=text, text_mask=mask)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.words)


PROMPTERS: dict[str, type] = {"label": LabelPrompter, "text": TextPrompter}


def note(prompter: Prompter | None) -> dict[str, Any] | None:
    """The prompter for the notes of an artifact."""
    return None if prompter is None else {"name": prompter.kind} | asdict(prompter)


def of_note(noted: dict[str, Any] | None) -> Prompter | None:
    """The prompter that `note` wrote."""
    if noted is None:
        return None
    options = {key: tuple(value) for key, value in noted.items() if key != "name"}
    return PROMPTERS[noted["name"]](**options)
