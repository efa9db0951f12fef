"""Stage text_embeddings: encode every distinct caption of the data with the text encoder.

Captions are sorted by length, the longest (in word pieces) first, then alphabetically. Batches
then hold captions of similar length, the first batch needs the most memory, and the table depends
on the captions alone and not on their images. Captions of white space alone are the null text and
are not in the table. Tokens are stored as float16.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from routing.pretrained import text_encoders


def run(job) -> None:
    """Write `tokens` (text [captions, keys, dim], mask [captions, keys]) and `captions`."""
    text = text_encoders.build(job.spec["text_encoder"])
    resolved = text_encoders.describe(text)
    if not text.is_precomputed:
        raise ValueError(
            f"text_encoder: wanted one with a table of tokens, got {resolved['name']!r}; leave "
            f"this stage out"
        )
    found = job.table("index", columns=["caption"])["caption"].unique()
    unique = sorted(caption for caption in found if caption.strip())
    if not unique:
        raise ValueError(
            "text_encoder: wanted captions in the data, got empty ones alone; set condition to "
            "'label' or 'none'"
        )
    try:
        encoder = text.load()
    except ValueError as error:
        raise ValueError(f"text_encoder.{error}") from None
    job.device = str(encoder.device)
    lengths = encoder.lengths(unique)
    ordered = [unique[i] for i in np.argsort(-lengths, kind="stable")]
    metadata = {
        "text_encoder": resolved,
        "dim": encoder.dim,
        "sha256": encoder.sha256,
        "num_cut": int((lengths > encoder.num_pieces).sum()),  # captions that are truncated
    }
    job.write_array_blocks("tokens", encode_batches(encoder, ordered, text.batch_size), **metadata)
    job.write_table("captions", pd.DataFrame({"caption": ordered}))


def encode_batches(
    encoder: text_encoders.TextEncoder, captions: Sequence[str], batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Yield the tokens of `captions` (longest first), a batch at a time.

    All batches are padded to the number of keys of the first.
    """
    num_keys = None
    for first in range(0, len(captions), batch_size):
        text, mask = (a.numpy() for a in encoder(captions[first : first + batch_size]))
        if not (np.abs(text) <= np.finfo(np.float16).max).all():  # False for nan, too
            raise ValueError(
                f"text_encoder: wanted tokens that float16 can hold, got others for "
                f"{captions[first][:40]!r} or the captions after it; check the weights"
            )
        num_keys = num_keys or text.shape[1]
        room = num_keys - text.shape[1]
        text = np.pad(text.astype(np.float16), ((0, 0), (0, room), (0, 0)))
        yield {"text": text, "mask": np.pad(mask, ((0, 0), (0, room)))}
