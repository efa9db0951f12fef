"""Stage fit_encoder: fit a feature encoder on training samples.

The encoder is fitted on all training samples or, where they are more than its `max_fit`, on so
many drawn without replacement; in the order of the index either way. The fitted encoder is an
artifact of its own, because routers by distance and the cluster shares of the metrics need the
features of generated samples as well. Encoders are the table of
`routing.loading.feature_encoders.registry`.
"""

import numpy as np

from routing.data import shards
from routing.loading.feature_encoders.fitting_samples import FittingSamples, subsample
from routing.loading.feature_encoders.registry import ENCODERS
from routing.workflow import choices


def run(job) -> None:
    """Write `encoder`: the fitted arrays; the metadata says how they are applied."""
    encoder = choices.build(
        choices.with_plugins("encoders", ENCODERS), job.spec["encoder"], "encoder"
    )
    index = job.table("index", columns=["split", "shard", "row"])
    train = np.flatnonzero(index["split"] == "train")
    if not len(train):
        raise ValueError(
            "encoder: wanted training samples to fit on, got none; lower data.heldout_fraction"
        )
    rows = shards.values(job, index)
    numbers = subsample(train, encoder.max_fit, job.spec["seed"])
    arrays, metadata = encoder.fit(FittingSamples(rows, numbers))
    job.write_arrays("encoder", arrays, encoder=metadata)
