"""Stage text_embeddings: every caption of the data through the text encoder, once.

Rows stand in the order longest caption first (in word pieces), then by the alphabet: batches are
of captions of nearly one length, the first is the largest that memory must hold, and the same
captions give the same table whatever images they belong to. Captions of white space alone are the
null text, and not in the table. Tokens are float16, at half the size of what encoders compute.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from routing.pretrained import text_encoders


def run(job) -> None:
    """Write `tokens` (text [captions, keys, dim], mask [captions, keys]) and `captions`."""
    text = text_encoders.build(job.spec["text_encoder"])
    resolved = text_encoders.describe(text)
    if not text.is_table:
        raise ValueError(
            f"text: wanted an encoder, got {resolved['name']!r}, which has none; leave this stage "
            f"out"
        )
    found = job.table("index", columns=["caption"])["caption"].unique()
    unique = sorted(caption for caption in found if caption.strip())
    if not unique:
        raise ValueError(
            "text: wanted captions in the data, got none that are not empty; set condition to "
            "'label' or 'none'"
        )
    try:
        encoder = text.load()
    except ValueError as error:
        raise ValueError(f"text.{error}") from None
    job.device = str(encoder.device)
    lengths = encoder.lengths(unique)
    ordered = [unique[i] for i in np.argsort(-lengths, kind="stable")]
    note = {
        "text_encoder": resolved,
        "dim": encoder.dim,
        "sha256": encoder.sha256,
        "num_cut": int((lengths > encoder.num_pieces).sum()),  # captions that are read in part
    }
    job.write_rows("tokens", encoded(encoder, ordered, text.batch_size), **note)
    job.write_table("captions", pd.DataFrame({"caption": ordered}))


def encoded(
    encoder: text_encoders.Encoder, captions: Sequence[str], batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """Tokens of `captions`, longest first, a batch at a time with as many keys as the first."""
    num_keys = None
    for first in range(0, len(captions), batch_size):
        text, mask = (a.numpy() for a in encoder(captions[first : first + batch_size]))
        if not (np.abs(text) <= np.finfo(np.float16).max).all():  # a nan is not <=
            raise ValueError(
                f"text: wanted tokens that float16 can hold, got others for "
                f"{captions[first][:40]!r} or the captions after it; check the weights"
            )
        num_keys = num_keys or text.shape[1]
        room = num_keys - text.shape[1]
        text = np.pad(text.astype(np.float16), ((0, 0), (0, room), (0, 0)))
        yield {"text": text, "mask": np.pad(mask, ((0, 0), (0, room)))}
