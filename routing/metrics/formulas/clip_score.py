"""CLIP score: the cosine similarity of an image and its caption, and how papers average it.

    c_i = <a_i, b_i> / (|a_i| |b_i|)

a_i is the embedding of image i, b_i that of its text, in the space of one CLIP model. Higher is
better. Scores of different models, resizing methods or prompts cannot be compared. Papers report

    cosine        mean c             in [-1, 1]     most papers, often times 100
    hessel        mean 2.5 max(c, 0) in [0, 2.5]    CLIPScore (Hessel et al. 2021,
                                                    arXiv:2104.08718), with PREFIX before each
                                                    text, as in their code
    torchmetrics  max(100 mean c, 0) in [0, 100]    torchmetrics' CLIPScore; clamped after the mean

To add a convention, write a function of (cosines, weights) and give it a row in CONVENTIONS.
"""

from jaxtyping import Float
from torch import Tensor

from routing.metrics.formulas.input_checks import sample_counts

PREFIX = "A photo depicts "
Cosines = Float[Tensor, " samples"]
Weights = Float[
    Tensor, "replicates samples"
]  # how often a sample counts (routing.metrics.formulas.input_checks)
Replicates = Float[Tensor, " replicates"]


def cosines(image: Float[Tensor, "samples dim"], text: Float[Tensor, "texts text_dim"]) -> Cosines:
    """Return c of row i of both, float64. Raises ValueError if shapes differ or a row is 0."""
    if image.shape != text.shape:
        raise ValueError(
            f"clip_score: wanted a text for each image in one space, got {list(image.shape)} and "
            f"{list(text.shape)}; embed both with one CLIP"
        )
    a, b = image.double(), text.double()
    for kind, x in (("images", a), ("texts", b)):
        bad = int((~(x.isfinite().all(1) & (x != 0).any(1))).sum())
        if bad:
            raise ValueError(
                f"clip_score: wanted finite embeddings other than 0, got others for {bad} of "
                f"{len(x)} {kind}; find out what made them"
            )
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    return (a * b).sum(1).clamp(-1, 1)


def mean_cosine(c: Cosines, weights: Weights) -> Replicates:
    """Return mean c of every replicate."""
    w = sample_counts(weights, at_least=1)
    return w @ c.double() / w.sum(1)


def mean_hessel_score(c: Cosines, weights: Weights) -> Replicates:
    """Return mean 2.5 max(c, 0) of every replicate."""
    return mean_cosine(hessel_scores(c), weights)


def hessel_scores(c: Cosines) -> Cosines:
    """Return 2.5 max(c, 0)."""
    return 2.5 * c.clamp_min(0)


def torchmetrics_score(c: Cosines, weights: Weights) -> Replicates:
    """Return max(100 mean c, 0) of every replicate."""
    return (100 * mean_cosine(c, weights)).clamp_min(0)


CONVENTIONS = {
    "cosine": mean_cosine,
    "hessel": mean_hessel_score,
    "torchmetrics": torchmetrics_score,
}
