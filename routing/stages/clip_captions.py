"""Stage clip_captions: every caption of the data in the space of a CLIP, for CLIP scores.

A row per distinct caption in the order of the alphabet; captions of white space alone have none.
The encoder says which tower belongs to its images; it must keep the whole embedding, since a text
has no place in a projection that was fitted on images. `depicted` are the same captions after the
words that CLIPScore puts before them (routing.metrics.formulas.clip_score). Captions of more
than 77 word pieces
(start and end included) are cut, which `captions` says of each and the note `num_cut` of all;
after the words this happens as many pieces earlier as they have.
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
    name, note = job.spec["encoder"], job.metadata("encoder")["encoder"]
    if note["kind"] != "network" or note["backbone"]["name"] != "clip":
        raise ValueError(f"phrases: wanted an encoder of kind clip, got {name!r}; name one")
    if job.arrays("encoder"):
        raise ValueError(
            f"phrases: wanted the whole embedding, got {name!r}, which keeps {note['dim']} "
            f"components of it; add an encoder without dim"
        )
    found = job.table("index", columns=["caption"])["caption"].unique()
    captions = sorted(caption for caption in found if caption.strip())
    if not captions:
        raise ValueError(
            "phrases: wanted captions in the data, got none that are not empty; leave clip_score "
            "out"
        )
    clip = choices.build(choices.with_plugins("backbones", BACKBONES), note["backbone"], "encoder")
    tower = TextTower.load(clip)
    if tower.sha256 != note["sha256"]:
        raise ValueError(
            f"phrases: {name!r} embeds images with weights of sha256 {note['sha256']}, found "
            f"{tower.sha256}; put the old file back or make the encoder again"
        )
    job.device = str(tower.device)
    is_cut = tower.lengths(captions).numpy() > tower.num_pieces
    notes = {"backbone": note["backbone"], "sha256": tower.sha256, "num_cut": int(is_cut.sum())}
    job.write_array_blocks("features", embedded(tower, captions), **notes)
    job.write_table("captions", pd.DataFrame({"caption": captions, "is_cut": is_cut}))


def embedded(tower: TextTower, captions: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """Embeddings, a batch at a time. Raises ValueError where they are no numbers."""
    progress = progress_bar("clip_captions", len(captions))
    for first in range(0, len(captions), BATCH):
        batch = captions[first : first + BATCH]
        read = {"features": batch, "depicted": [PREFIX + caption for caption in batch]}
        found = {name: tower(texts).cpu().numpy() for name, texts in read.items()}
        if not all(np.isfinite(features).all() for features in found.values()):
            raise ValueError(
                f"phrases: wanted finite embeddings, got nan or inf for {batch[0][:40]!r} or the "
                f"captions after it; check the weights"
            )
        yield found
        progress.update(len(batch))
