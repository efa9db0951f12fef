"""How well the samples show the captions they were asked for."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from routing.clip_score import cosines, hessel, torchmetrics
from routing.measures.base import Kind, PerSample, Replicates, View


@dataclass(frozen=True)
class CLIPScore(PerSample):
    """Cosine of image and caption in a CLIP space; higher is better, in [-1, 1].

    `clip_score` is the mean of the raw cosines, `clip_score_hessel` the mean of 2.5 max(cos, 0),
    `clip_score_hundred` max(100 mean cos, 0) as in torchmetrics. Only of arms that ask for a text.
    """

    kinds: ClassVar = {
        "clip_score": Kind(1, -1, 1),
        "clip_score_hessel": Kind(1, 0, 2.5),
        "clip_score_hundred": Kind(1, 0, 100),
    }

    def scores(self, view: View) -> dict[str, Tensor]:
        """The raw cosine of each sample."""
        if view.texts is None:
            return {}
        return {view.named("clip_score"): cosines(view.features, view.texts)}

    def replicates(self, view: View) -> Replicates:
        """The three conventions."""
        found = super().replicates(view)
        for raw in self.scores(view).values():
            found[view.named("clip_score_hessel")] = hessel(raw, view.weights)
            found[view.named("clip_score_hundred")] = torchmetrics(raw, view.weights)
        return found
