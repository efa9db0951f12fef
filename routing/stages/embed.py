"""Stage embed: features of one shard of the real samples, by a fitted encoder.

There is one job per shard, so that an interrupted run continues with the missing shards. Features
are written block by block, so that memory does not grow with the shard.
"""

from collections.abc import Iterator

import numpy as np

from routing.data import pixel_values
from routing.loading.feature_encoders import fitted_encoders
from routing.metrics import feature_space_names
from routing.workflow.progress import progress_bar


def run(job) -> None:
    """Write `features` [rows of the shard, dim]; the metadata `feature_space` describes them."""
    encoder_metadata = job.metadata("encoder")
    encode = fitted_encoders.load(job.arrays("encoder"), encoder_metadata)
    job.device = encode.device
    stored, levels = job.mapped("samples")["samples"], job.metadata("samples")["levels"]
    space = feature_space_names.feature_metadata(
        job.spec.get("feature_space"), encoder_metadata, stored.shape[1:]
    )
    path = job.inputs["samples"][0]
    job.write_array_blocks("features", features(encode, stored, levels, path), feature_space=space)


def features(
    encode: fitted_encoders.FittedEncoder,
    stored: np.ndarray,
    levels: int | None,
    path: object = "samples",
) -> Iterator[dict[str, np.ndarray]]:
    """Yield `features` of all rows of `stored`, block by block; one empty block without rows."""
    progress = progress_bar("embed", len(stored))
    for first in range(0, max(1, len(stored)), encode.block_size):
        block = stored[first : first + encode.block_size]
        pixel_values.check_stored(block, levels, path)
        values = pixel_values.to_values(block, levels)
        yield {"features": encode(values)}
        if len(values):
            progress.update(len(values))
