"""Tokens of captions: one-hot words, or the stored output of a text encoder.

Both classes are callables  captions -> (text, text_mask)  for `routing.flow.conditions.Condition`.
`Vocabulary` makes one token per word, one-hot, so that the first linear map of a network is a
learned word embedding. `CaptionTable` looks up the tokens that a text encoder has made
(`routing.pretrained.text_encoders`). A caption of white space alone has the null text: one token
of zeros.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16
from torch import Tensor


@dataclass(frozen=True)
class Vocabulary:
    """One-hot tokens of the words of captions, in lower case and split at white space.

    A word that is not in `words` becomes a token of zeros. A caption without words becomes one
    token of zeros, the null text. Raises ValueError unless `words` holds one or more distinct
    words in lower case without white space.
    """

    words: tuple[str, ...]

    def __post_init__(self):
        """Validate the words."""
        num, odd = len(set(self.words)), [w for w in self.words if w.lower().split() != [w]]
        if not self.words or odd or num < len(self.words):
            got = repr(odd[0]) if odd else f"{len(self.words)}, {num} of them distinct"
            raise ValueError(
                "vocabulary: words must be one or more, distinct, lower case and without white "
                f"space, got {got}: make them with Vocabulary.of(captions)"
            )

    @classmethod
    def of(cls, captions: Iterable[str]) -> "Vocabulary":
        """Return the vocabulary of all words in these captions, sorted."""
        return cls(tuple(sorted({word for caption in captions for word in split_words(caption)})))

    def __call__(
        self, captions: Sequence[str]
    ) -> tuple[Float[Tensor, "batch keys words"], Bool[Tensor, "batch keys"]]:
        """Return the tokens and their mask; `keys` is the largest number of words of a caption."""
        split_captions = [split_words(caption) for caption in captions]
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


def split_words(caption: str) -> list[str]:
    """Return the words of a caption in lower case."""
    return caption.lower().split()


@dataclass(frozen=True, eq=False)
class CaptionTable:
    """Stored tokens of captions: row i holds the output of the text encoder for `captions[i]`.

    In each row the tokens under the mask come first. `digest` identifies the table. The arrays
    may be memory-mapped: only the rows that are looked up are read. Raises ValueError unless
    there is one row for each caption and the captions are distinct.
    """

    captions: Sequence[str]
    text: Float16[np.ndarray, "captions keys features"]
    mask: Bool[np.ndarray, "captions keys"]
    encoder: str
    digest: str

    def __post_init__(self):
        """Validate the number of rows."""
        if not len(self._row) == len(self.captions) == len(self.text) == len(self.mask):
            raise ValueError(
                f"captions: wanted one row of tokens for each of {len(self.captions)} captions, "
                f"{len(self._row)} of them distinct, got {len(self.text)}; use captions and "
                f"tokens of the same data"
            )

    @property
    def dim(self) -> int:
        """Number of features of a token."""
        return self.text.shape[-1]

    def __call__(
        self, captions: Sequence[str]
    ) -> tuple[Float[Tensor, "batch keys features"], Bool[Tensor, "batch keys"]]:
        """Return the tokens and their mask; `keys` is the largest number of tokens of a caption.

        Raises ValueError on a caption that is not in the table.
        """
        rows = np.array([self._row_of(caption) for caption in captions], dtype=np.int64)
        (found,) = np.nonzero(rows >= 0)
        found_mask = self.mask[rows[found]]
        num_keys = max([1, *found_mask.sum(1)])
        text = torch.zeros(len(rows), num_keys, self.dim)
        mask = torch.zeros(len(rows), num_keys, dtype=torch.bool)
        mask[:, 0] = True
        text[found] = torch.from_numpy(self.text[rows[found], :num_keys]).float()
        mask[found] = torch.from_numpy(found_mask[:, :num_keys])
        return text, mask

    def check_contains(self, captions: Iterable[str]) -> None:
        """Raise ValueError on a caption that is not in the table."""
        for caption in captions:
            self._row_of(caption)

    def _row_of(self, caption: str) -> int:
        """Return the row of a caption, or -1 for the null text."""
        if not caption.strip():
            return -1
        row = self._row.get(caption)
        if row is not None:
            return row
        raise ValueError(
            f"caption {caption[:60]!r} is not in the table of {len(self.captions)} captions that "
            f"{self.encoder!r} has encoded; run the stage text_embeddings on this data"
        )

    @cached_property
    def _row(self) -> dict[str, int]:
        return {caption: i for i, caption in enumerate(self.captions)}
