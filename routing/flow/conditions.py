"""Conditions: the class label, the text, or both, on which each sample of a batch is conditioned.

    v = expert(x, t, condition)      the conditional branch  v(x_t, t | c)
    v = expert(x, t)                 the null branch         v(x_t, t)

A network learns its null branch from the training samples whose condition was dropped
(classifier-free guidance: Ho & Salimans 2022, arXiv:2207.12598). The null label is `num_classes`;
the null text is one token whose features are all 0. `ConditionedNetwork` gives a `DiT` these two
call forms. `routing.data.caption_tokens` makes texts from captions.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from routing.flow.paths import Time

Label = Int[Tensor, " batch"]
Text = Float[Tensor, "batch keys features"]
TextMask = Bool[Tensor, "batch keys"]  # True where a token is attended to: at least one per row
Rows = Int[Tensor, " rows"] | Bool[Tensor, " batch"] | slice


@dataclass(frozen=True, eq=False)
class Condition:
    """The label and the text of each sample; None where a kind is not used.

    `condition[rows]` selects samples. Without `text_mask` all tokens are attended to. Raises
    ValueError if both label and text are None, if a mask is given without a text, or if the
    batch sizes differ.
    """

    label: Label | None = None
    text: Text | None = None
    text_mask: TextMask | None = None

    def __post_init__(self):
        """Validate the parts and their shapes."""
        if self.label is None and self.text is None:
            raise ValueError("condition: wanted a label or a text, got neither: use None instead")
        if self.text_mask is not None:
            if self.text is None:
                raise ValueError("condition: text_mask wants a text, got none: leave it out")
            if self.text_mask.shape != self.text.shape[:2]:
                raise ValueError(
                    "condition: text_mask must have the shape of the tokens, "
                    f"{tuple(self.text.shape[:2])}, got {tuple(self.text_mask.shape)}: give one "
                    "value per token"
                )
        is_both = self.label is not None and self.text is not None
        if is_both and len(self.label) != len(self.text):
            raise ValueError(
                "condition: label and text must have the same batch size, got "
                f"{len(self.label)} and {len(self.text)}: give one of each per sample"
            )

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.text if self.label is None else self.label)

    def __getitem__(self, rows: Rows) -> "Condition":
        """Return the condition of the samples `rows`."""
        parts = (self.label, self.text, self.text_mask)
        return Condition(*(None if part is None else part[rows] for part in parts))


@dataclass(frozen=True, eq=False)
class ConditionedNetwork:
    """A network with the call forms net(x, t, condition) and net(x, t), the null branch.

    A network without label and text inputs has no null branch: net(x, t) calls it unchanged.
    """

    net: nn.Module  # net(x, t, label, text, text_mask), with the `architecture` of a DiT

    @property
    def architecture(self) -> Any:
        """The `dit.Architecture` of the network, which gives its condition inputs and its cost."""
        return self.net.architecture

    def __call__(
        self, x: Float[Tensor, "batch *dims"], t: Time, condition: Condition | None = None
    ) -> Float[Tensor, "batch *out"]:
        """Return the velocity (or the logits) at x and t.

        Raises ValueError unless the condition has a label exactly if the network has classes, and
        a text exactly if the network has a text input.
        """
        given = self._null(x) if condition is None else vars(condition)
        return self.net(x, t, **given)

    def _null(self, x: Tensor) -> dict[str, Tensor]:
        """Return the inputs of the null branch: the last class and one token of zeros."""
        a, null = self.architecture, {}
        if a.num_classes is not None:
            null["label"] = torch.full((len(x),), a.num_classes, device=x.device)
        if a.text_dim is not None:
            null["text"] = x.new_zeros(len(x), 1, a.text_dim)
            null["text_mask"] = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
        return null
