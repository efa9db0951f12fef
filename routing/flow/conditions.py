"""Conditions: what each sample of a batch is asked for, a class label, a text, or nothing.

    v = expert(x, t, condition)      the conditional branch  v(x_t, t | c)
    v = expert(x, t)                 the null branch         v(x_t, t)

The null branch of a network is what it has learned where the condition was dropped in training
(classifier-free guidance: Ho & Salimans 2022, arXiv:2207.12598): the label `num_classes`, and a
text of one token whose features are all 0. `Told` puts a `DiT` into this form.

`Vocabulary` makes the smallest honest text: one token per word, one-hot; the first linear
map of a network is then a learned embedding of words. `Captions` is another callable from captions
to (text, text_mask): a table of what a text encoder made of them (routing.texts).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Int
from torch import Tensor, nn

from routing.flow.paths import Time

Label = Int[Tensor, " batch"]
Text = Float[Tensor, "batch keys features"]
TextMask = Bool[Tensor, "batch keys"]  # true where a token is read: at least once in each row
Rows = Int[Tensor, " rows"] | Bool[Tensor, " batch"] | slice


@dataclass(frozen=True, eq=False)
class Condition:
    """What each sample is asked for; None leaves out the kind. `condition[rows]` gives rows.

    Without `text_mask` all tokens are read. Raises ValueError if neither label nor text is
    given, a mask comes without a text, or the parts are of different batches.
    """

    label: Label | None = None
    text: Text | None = None
    text_mask: TextMask | None = None

    def __post_init__(self):
        """Refuse what asks for nothing or disagrees with itself."""
        if self.label is None and self.text is None:
            raise ValueError("condition: wanted a label or a text, got neither: use None instead")
        if self.text_mask is not None:
            if self.text is None:
                raise ValueError("condition: text_mask goes with a text, got none: leave it out")
            if self.text_mask.shape != self.text.shape[:2]:
                raise ValueError(
                    f"condition: text_mask must be {tuple(self.text.shape[:2])} as the tokens, "
                    f"got {tuple(self.text_mask.shape)}: give one value per token"
                )
        is_both = self.label is not None and self.text is not None
        if is_both and len(self.label) != len(self.text):
            raise ValueError(
                "condition: label and text must be of one batch, got "
                f"{len(self.label)} and {len(self.text)}: give one of each per sample"
            )

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.text if self.label is None else self.label)

    def __getitem__(self, rows: Rows) -> "Condition":
        """The condition of these samples."""
        parts = (self.label, self.text, self.text_mask)
        return Condition(*(None if part is None else part[rows] for part in parts))


@dataclass(frozen=True, eq=False)
class Told:
    """A network as `told(x, t, condition)`; without a condition it speaks its null branch.

    A network that takes no condition has no null branch either: told(x, t) is net(x, t).
    """

    net: nn.Module  # net(x, t, label, text, text_mask), with the `architecture` of a DiT

    @property
    def architecture(self) -> Any:
        """That of the network, `dit.Architecture`: what it can be told, and what it costs."""
        return self.net.architecture

    def __call__(
        self, x: Float[Tensor, "batch *dims"], t: Time, condition: Condition | None = None
    ) -> Float[Tensor, "batch *out"]:
        """The velocity (or logits) at x and t. Raises ValueError unless the network takes it all.

        The condition must have a label where the network has classes and a text where it has
        text, and nothing else.
        """
        given = self._null(x) if condition is None else vars(condition)
        return self.net(x, t, **given)

    def _null(self, x: Tensor) -> dict[str, Tensor]:
        """Dropped: the class after the last, and one token of zeros."""
        a, null = self.architecture, {}
        if a.num_classes is not None:
            null["label"] = torch.full((len(x),), a.num_classes, device=x.device)
        if a.text_dim is not None:
            null["text"] = x.new_zeros(len(x), 1, a.text_dim)
            null["text_mask"] = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
        return null


@dataclass(frozen=True)
class Vocabulary:
    """Words of captions as one-hot tokens: lower case, split at white space.

    A word that is not in `words` is a token of zeros, and a caption without words is one such
    token, which is the null text. Raises ValueError unless there are one or more distinct words.
    """

    words: tuple[str, ...]

    def __post_init__(self):
        """Refuse words that no caption has."""
        num, odd = len(set(self.words)), [w for w in self.words if w.lower().split() != [w]]
        if not self.words or odd or num < len(self.words):
            got = repr(odd[0]) if odd else f"{len(self.words)}, {num} of them distinct"
            raise ValueError(
                "vocabulary: words must be one or more, distinct, lower case and without white "
                f"space, got {got}: make them with Vocabulary.of(captions)"
            )

    @classmethod
    def of(cls, captions: Iterable[str]) -> "Vocabulary":
        """All words of these captions, sorted."""
        return cls(tuple(sorted({word for caption in captions for word in split(caption)})))

    def __call__(
        self, captions: Sequence[str]
    ) -> tuple[Float[Tensor, "batch keys words"], Bool[Tensor, "batch keys"]]:
        """The tokens, and where there are any: keys are as many as the longest caption has."""
        split_captions = [split(caption) for caption in captions]
        num_keys = max([1, *map(len, split_captions)])
        text = torch.zeros(len(captions), num_keys, len(self.words))
        mask = torch.zeros(len(captions), num_keys, dtype=torch.bool)
        mask[:, 0] = True
        for i, words in enumerate(split_captions):
            mask[i, : len(words)] = True
            for j, word in enumerate(words):
                if word in self._index:
                    text[i, j, self._index[word]] = 1
        return text, mask

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}


def split(caption: str) -> list[str]:
    """The words of a caption."""
    return caption.lower().split()


@dataclass(frozen=True, eq=False)
class Captions:
    """Tokens of captions from a table, where row i is what `encoder` made of `captions[i]`.

    In each row the tokens that are read come first. A caption of white space alone is the null
    text. `digest` says which table it is. The arrays may be memory-mapped: what is asked for is
    read, and nothing else. Raises ValueError unless there is one row for each caption.
    """

    captions: Sequence[str]
    text: Float16[np.ndarray, "captions keys features"]
    mask: Bool[np.ndarray, "captions keys"]
    encoder: str
    digest: str

    def __post_init__(self):
        """Refuse tables of something else."""
        if not len(self._row) == len(self.captions) == len(self.text) == len(self.mask):
            raise ValueError(
                f"captions: wanted one row of tokens for each of {len(self.captions)} captions, "
                f"{len(self._row)} of them distinct, got {len(self.text)}; they are of other data"
            )

    @property
    def dim(self) -> int:
        """Features of a token."""
        return self.text.shape[-1]

    def __call__(
        self, captions: Sequence[str]
    ) -> tuple[Float[Tensor, "batch keys features"], Bool[Tensor, "batch keys"]]:
        """The tokens, and where there are any: keys are as many as the longest caption has.

        Raises ValueError on a caption that is not in the table.
        """
        rows = np.array([self._row_of(caption) for caption in captions], dtype=np.int64)
        (told,) = np.nonzero(rows >= 0)
        read = self.mask[rows[told]]
        num_keys = max([1, *read.sum(1)])
        text = torch.zeros(len(rows), num_keys, self.dim)
        mask = torch.zeros(len(rows), num_keys, dtype=torch.bool)
        mask[:, 0] = True
        text[told] = torch.from_numpy(self.text[rows[told], :num_keys]).float()
        mask[told] = torch.from_numpy(read[:, :num_keys])
        return text, mask

    def refuse_unknown(self, captions: Iterable[str]) -> None:
        """Raise ValueError on a caption that is not in the table."""
        for caption in captions:
            self._row_of(caption)

    def _row_of(self, caption: str) -> int:
        """Its row; -1 for the null text."""
        if not caption.strip():
            return -1
        row = self._row.get(caption)
        if row is not None:
            return row
        raise ValueError(
            f"caption {caption[:60]!r} is not in the table of {len(self.captions)} captions that "
            f"{self.encoder!r} has encoded; run the stage captions on this data"
        )

    @cached_property
    def _row(self) -> dict[str, int]:
        return {caption: i for i, caption in enumerate(self.captions)}
