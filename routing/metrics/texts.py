"""How well the samples show the captions they were asked for."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from routing.metrics.base import Kind, PerSample, Replicates, View
from routing.metrics.formulas.clip_score import cosine, cosines, raised, torchmetrics


@dataclass(frozen=True)
class CLIPScore(PerSample):
    """Cosine of image and caption in a CLIP space; higher is better, in [-1, 1].

    `clip_score` is the mean of the raw cosines and `clip_score_hundred` max(100 mean cos, 0) as in
    torchmetrics; `clip_score_hessel` is the mean of 2.5 max(cos, 0) with "A photo depicts " before
    each caption. Only of arms that ask for a text, and of the samples whose caption has words: an
    empty one is asked for, and shown by anything.
    """

    kinds: ClassVar = {
        "clip_score": Kind(1, -1, 1),
        "clip_score_hessel": Kind(1, 0, 2.5),
        "clip_score_hundred": Kind(1, 0, 100),
    }

    def scores(self, view: View) -> dict[str, Tensor]:
        """The raw cosine of each sample, and Hessel's number; nan where the caption is empty.

        Nothing if all are.
        """
        told = is_told(view)
        if not told.any():
            return {}
        found = {"clip_score": view.texts, "clip_score_hessel": view.depicted}
        for kind, texts in found.items():
            said = torch.full((len(told),), torch.nan, dtype=torch.float64)
            said[told] = cosines(view.features[told], texts[told])
            found[kind] = said
        found["clip_score_hessel"] = raised(found["clip_score_hessel"])
        return {view.named(kind): said for kind, said in found.items()}

    def replicates(self, view: View) -> Replicates:
        """The three conventions."""
        told = is_told(view)
        weights = view.weights[:, told]
        said = {name: each[told] for name, each in self.scores(view).items()}
        found = {name: cosine(each, weights) for name, each in said.items()}
        if said:
            raw = said[view.named("clip_score")]
            found[view.named("clip_score_hundred")] = torchmetrics(raw, weights)
        return found

    def note(self, view: View) -> str:
        """How many samples have no score."""
        told = is_told(view)
        num = int((~told).sum())
        return f"{num} of {len(told)} samples, with an empty caption, left out" if num else ""


def is_told(view: View) -> Tensor:
    """Which samples were asked for a caption with words, whose embedding is no nan."""
    if view.texts is None:
        return torch.zeros(len(view.features), dtype=torch.bool)
    return view.texts.isfinite().all(1)
