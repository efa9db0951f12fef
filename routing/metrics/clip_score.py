"""CLIP score: how well the samples match the captions that they are conditioned on."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from routing.metrics.formulas.clip_score import (
    cosines,
    hessel_scores,
    mean_cosine,
    torchmetrics_score,
)
from routing.metrics.protocol import ArmSamples, Kind, PerSampleMetric, Replicates


@dataclass(frozen=True)
class CLIPScore(PerSampleMetric):
    """Cosine similarity of image and caption in a CLIP feature space; higher is better.

    `clip_score` is the mean cosine, in [-1, 1]. `clip_score_hundred` is max(100 mean cos, 0), as
    in torchmetrics. `clip_score_hessel` is the mean of 2.5 max(cos, 0) with "A photo depicts "
    before each caption. Only for arms that are conditioned on text. Samples with an empty caption
    are left out, since any image matches it.
    """

    kinds: ClassVar = {
        "clip_score": Kind(1, -1, 1),
        "clip_score_hessel": Kind(1, 0, 2.5),
        "clip_score_hundred": Kind(1, 0, 100),
    }

    def scores(self, arm: ArmSamples) -> dict[str, Tensor]:
        """Return the cosine and the Hessel score of each sample, nan where the caption is empty.

        Return {} if no sample has a caption.
        """
        has_caption = caption_mask(arm)
        if not has_caption.any():
            return {}
        values = {
            "clip_score": arm.caption_features,
            "clip_score_hessel": arm.prefixed_caption_features,
        }
        for kind, texts in values.items():
            score = torch.full((len(has_caption),), torch.nan, dtype=torch.float64)
            score[has_caption] = cosines(arm.features[has_caption], texts[has_caption])
            values[kind] = score
        values["clip_score_hessel"] = hessel_scores(values["clip_score_hessel"])
        return {arm.metric_name(kind): score for kind, score in values.items()}

    def replicates(self, arm: ArmSamples) -> Replicates:
        """Return the three conventions."""
        has_caption = caption_mask(arm)
        weights = arm.weights[:, has_caption]
        scores = {name: score[has_caption] for name, score in self.scores(arm).items()}
        values = {name: mean_cosine(score, weights) for name, score in scores.items()}
        if scores:
            raw = scores[arm.metric_name("clip_score")]
            values[arm.metric_name("clip_score_hundred")] = torchmetrics_score(raw, weights)
        return values

    def note(self, arm: ArmSamples) -> str:
        """Return how many samples have no score, if any."""
        has_caption = caption_mask(arm)
        num = int((~has_caption).sum())
        if not num:
            return ""
        return f"{num} of {len(has_caption)} samples left out, because their caption is empty"


def caption_mask(arm: ArmSamples) -> Tensor:
    """Return whether each sample has a caption with words (the features of others are nan)."""
    if arm.caption_features is None:
        return torch.zeros(len(arm.features), dtype=torch.bool)
    return arm.caption_features.isfinite().all(1)
