"""Stage clip_score_captions: the captions of the data as CLIP text features, for CLIP scores.

A row per distinct caption, in alphabetical order; captions of white space only are left out. The
text network is the one that belongs to the encoder's image network. The encoder must keep the
whole embedding, since a text cannot be projected by a PCA that was fitted on images. `depicted`
has the features of the same captions with the prefix that CLIPScore puts before them
(routing.metrics.formulas.clip_score). Captions of more than 77 tokens (start and end included) are
truncated: the table `captions` says which, the metadata `num_cut` how many. With the prefix they
are truncated earlier by its number of tokens.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from routing.metrics.formulas.clip_score import PREFIX
from routing.pretrained.clip_text_networks import TextTower
from routing.pretrained.image_networks import BACKBONES
from routing.workflow import choices
from routing.workflow.progress import progress_bar

BATCH = 256


def run(job) -> None:
    """Write `features` and `depicted` [captions, dim], and `captions` (caption, is_cut)."""
    name, encoder = job.spec["encoder"], job.metadata("encoder")["encoder"]
    if encoder["kind"] != "network" or encoder["backbone"]["name"] != "clip":
        raise ValueError(
            f"clip_score_captions: wanted an encoder of kind clip, got {name!r}; name one"
        )
    if job.arrays("encoder"):
        raise ValueError(
            f"clip_score_captions: wanted the whole embedding, got {name!r}, which keeps "
            f"{encoder['dim']} components of it; add an encoder without dim"
        )
    distinct = job.table("index", columns=["caption"])["caption"].unique()
    captions = sorted(caption for caption in distinct if caption.strip())
    if not captions:
        raise ValueError(
            "clip_score_captions: wanted captions in the data, got none that are not empty; leave "
            "clip_score out"
        )
    backbones = choices.with_plugins("backbones", BACKBONES)
    tower = TextTower.load(choices.build(backbones, encoder["backbone"], "encoder"))
    if tower.sha256 != encoder["sha256"]:
        raise ValueError(
            f"clip_score_captions: {name!r} embeds images with weights of sha256 "
            f"{encoder['sha256']}, "
            f"found {tower.sha256}; put the old file back or make the encoder again"
        )
    job.device = str(tower.device)
    is_cut = tower.lengths(captions).numpy() > tower.num_pieces
    metadata = {
        "backbone": encoder["backbone"],
        "sha256": tower.sha256,
        "num_cut": int(is_cut.sum()),
    }
    job.write_array_blocks("features", embed(tower, captions), **metadata)
    job.write_table("captions", pd.DataFrame({"caption": captions, "is_cut": is_cut}))


def embed(tower: TextTower, captions: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """Iterate over the features in batches. Raise ValueError if some are not finite."""
    progress = progress_bar("clip_score_captions", len(captions))
    for first in range(0, len(captions), BATCH):
        batch = captions[first : first + BATCH]
        texts = {"features": batch, "depicted": [PREFIX + caption for caption in batch]}
        features = {name: tower(some).cpu().numpy() for name, some in texts.items()}
        if not all(np.isfinite(array).all() for array in features.values()):
            raise ValueError(
                f"clip_score_captions: wanted finite embeddings, got nan or inf for "
                f"{batch[0][:40]!r} "
                f"or the captions after it; check the weights"
            )
        yield features
        progress.update(len(batch))
