"""Stage sample_features: features of an arm's samples, or of a shard of real images, in one space.

A feature space is that of a feature extractor: a trained classifier or a fitted encoder. Latents
are decoded unless the encoder reads latents. Samples are clipped and rounded to the values that a
stored image can have, as real images are. Rows are ordered by training seed, then by sample seed
(by row for a shard of real images). One batch is in memory at a time. The metadata `feature_space`
describes the extractor (routing.metrics.feature_space_names).

`logits` are those of a trained classifier, whose classes are the labels of the data.
`inception_logits` are those of the 1008 classes of Inception-v3, for the Inception score; they do
not refer to labels.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from routing.data import pixel_values
from routing.loading import sample_decoding
from routing.metrics import feature_space_names

BATCH = 512  # samples at a time
CONDITION_ARRAYS = {"requested", "prompts"}  # copied from the samples to their features


def run(job) -> None:
    """Write `features` [samples, dim], and `logits` or `inception_logits` if there are any."""
    parts = [job.mapped("samples", i) for i in range(job.count("samples"))]
    if "shard" not in job.spec:
        check_shard_size([part["samples"] for part in parts], job)
    extract = load_extractor(job)
    metadata = job.metadata("samples")
    levels = metadata["levels"]
    decode = sample_decoding.make_decoder(metadata, bool(job.spec["autoencoder"]))
    extractor = job.metadata("encoder" if job.count("encoder") else "classifier")
    shape: list[tuple[int, ...]] = []  # of one decoded sample, known after the first block

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for part, path in zip(parts, job.inputs["samples"], strict=True):
            for first in range(0, max(1, len(part["samples"])), BATCH):
                rows = slice(first, first + BATCH)
                stored = np.asarray(part["samples"][rows])
                pixel_values.check_stored(stored, levels, path)
                pixel_values.check_scale(stored, levels, path)
                values = decode(stored)
                check_shape(values.shape[1:], extractor, path)
                shape[:] = [values.shape[1:]]
                block = extract(values)
                for name in CONDITION_ARRAYS & part.keys():
                    block[name] = np.asarray(part[name][rows])[:, None]
                yield block

    job.write_array_blocks(
        "features",
        blocks(),
        feature_space=lambda: feature_space_names.feature_metadata(
            job.spec.get("feature_space"), extractor, shape[0]
        ),
    )


def check_shard_size(files: list[np.ndarray], job) -> None:
    """Raise ValueError if a file has not the number of samples of a whole shard."""
    wanted = job.spec["shard_size"]
    for stored, path in zip(files, job.inputs["samples"], strict=True):
        if len(stored) != wanted:
            raise ValueError(
                f"{path}: wanted {wanted} samples (samples.shard_size), got {len(stored)}; delete "
                f"it and run the same command again: it will be drawn anew"
            )


def check_shape(shape: tuple[int, ...], extractor: dict[str, Any], path: object) -> None:
    """Raise ValueError if the extractor was fitted on images of another shape.

    `extractor` is its metadata. A pretrained network takes any shape: it resizes images.
    """
    if "encoder" in extractor:
        wanted = extractor["encoder"].get("shape", list(shape))
    else:
        side = extractor["model"]["size"]
        wanted = [extractor["model"]["channels"], side, side]
    if list(shape) != wanted:
        raise ValueError(
            f"{path}: wanted samples of shape {wanted} (that of the images which the feature "
            f"extractor was fitted on), got {list(shape)}; embed them with another extractor"
        )


def load_extractor(job) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return the function from float images to arrays (features, logits) by name."""
    if job.count("encoder"):
        from routing.loading.feature_encoders import fitted_encoders

        encoder = fitted_encoders.load(job.arrays("encoder"), job.metadata("encoder"))
        job.device = encoder.device
        return encoder.outputs
    import torch  # here: encoders of pixels start in a second without it

    from routing.networks.classifier import Classifier, ClassifierShape, logits_and_features
    from routing.workflow import devices

    model = job.metadata("classifier")["model"]
    shape = ClassifierShape(**{k: v for k, v in model.items() if k != "name"})
    device = devices.use_best_device(job)
    net = Classifier.from_arrays(shape, job.arrays("classifier")).to(device)

    def classify(values: np.ndarray) -> dict[str, np.ndarray]:
        x = devices.to_device(torch.from_numpy(values), device)
        logits, features = devices.to_device(logits_and_features(net, x), devices.CPU)
        return {"features": features.numpy(), "logits": logits.numpy()}

    return classify
