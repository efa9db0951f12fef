"""Stage embed: features of one shard of the real samples in the space of a fitted encoder.

A job per shard: an interrupted run goes on with the shards that it lacks. The shard is read and
its features are written block by block, so that memory does not grow with it.
"""

from collections.abc import Iterator

import numpy as np

from routing.data import pixel_values
from routing.loading.feature_encoders import fitted_encoders
from routing.metrics import feature_space_names
from routing.workflow.progress import progress_bar


def run(job) -> None:
    """Write `features` [rows of the shard, dim]; the note `space` says what they are."""
    notes = job.metadata("encoder")
    encode = fitted_encoders.load(job.arrays("encoder"), notes)
    job.device = encode.device
    stored, levels = job.mapped("samples")["samples"], job.metadata("samples")["levels"]
    space = feature_space_names.note(job.spec.get("feature_space"), notes, stored.shape[1:])
    path = job.inputs["samples"][0]
    job.write_rows("features", features(encode, stored, levels, path), feature_space=space)


def features(
    encode: fitted_encoders.FittedEncoder,
    stored: np.ndarray,
    levels: int | None,
    path: object = "samples",
) -> Iterator[dict[str, np.ndarray]]:
    """Blocks of `features` of all rows of `stored`, in their order; one empty block of none."""
    progress = progress_bar("embed", len(stored))
    for first in range(0, max(1, len(stored)), encode.block_size):
        block = stored[first : first + encode.block_size]
        pixel_values.refuse_broken(block, levels, path)
        values = pixel_values.to_values(block, levels)
        yield {"features": encode(values)}
        if len(values):
            progress.update(len(values))
