"""Stage sample_features: samples, or a shard of the real images, embedded once per feature space.

A space is a trained classifier or an encoder. Latents are decoded, unless the encoder reads them;
samples are then clipped and rounded to the storable values, as real images were. Rows are in the
order of the trainings, and within each of the seeds (or as in the shard). One batch is in memory
at a time. The note `space` says what the features are (`routing.metrics.feature_space_names`).

`logits` are of a trained classifier, whose classes are the labels of the data; `inception_logits`
are of the 1008 classes of Inception-v3, for the Inception score, and say nothing about labels.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from routing.data import pixel_values
from routing.loading import sample_decoding
from routing.metrics import feature_space_names

BATCH = 512  # samples at a time
ASKED = {"requested", "prompts"}  # what a sample was asked for goes on with its features


def run(job) -> None:
    """Write `features` [samples, dim], and `logits` or `inception_logits` if there are any."""
    num = job.count("samples")
    parts = [job.mapped("samples", i) for i in range(num)]
    if "shard" not in job.spec:
        refuse_count([part["samples"] for part in parts], job)
    embed = space(job)
    notes = job.metadata("samples")
    see, levels = (
        sample_decoding.make_decoder(notes, bool(job.spec["autoencoder"])),
        notes["levels"],
    )
    maker = job.metadata("encoder" if job.count("encoder") else "classifier")
    shape: list[tuple[int, ...]] = []  # of what the maker saw

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for i, part in enumerate(parts):
            for first in range(0, max(1, len(part["samples"])), BATCH):
                rows = slice(first, first + BATCH)
                stored = np.asarray(part["samples"][rows])
                path = job.inputs["samples"][i]
                pixel_values.refuse_broken(stored, levels, path)
                pixel_values.refuse_scale(stored, levels, path)
                values = see(stored)
                refuse_shape(values.shape[1:], maker, path)
                shape[:] = [values.shape[1:]]
                block = embed(values)
                for name in ASKED & part.keys():
                    block[name] = np.asarray(part[name][rows])[:, None]
                yield block

    job.write_array_blocks(
        "features",
        blocks(),
        feature_space=lambda: feature_space_names.feature_metadata(
            job.spec.get("feature_space"), maker, shape[0]
        ),
    )


def refuse_count(files: list[np.ndarray], job) -> None:
    """Raise ValueError (one line) if a file does not have the samples of a whole shard."""
    wanted = job.spec["shard_size"]
    for stored, path in zip(files, job.inputs["samples"], strict=True):
        if len(stored) != wanted:
            raise ValueError(
                f"{path}: wanted {wanted} samples (samples.shard_size), got {len(stored)}; delete "
                f"it and run the same command again: it will be drawn anew"
            )


def refuse_shape(shape: tuple[int, ...], maker: dict[str, Any], path: object) -> None:
    """Raise ValueError (one line) if the maker of the space has seen images of another shape.

    A pretrained network brings images to its own size; `maker` are the notes.
    """
    if "encoder" in maker:
        wanted = maker["encoder"].get("shape", list(shape))
    else:
        side = maker["model"]["size"]
        wanted = [maker["model"]["channels"], side, side]
    if list(shape) != wanted:
        raise ValueError(
            f"{path}: wanted samples of shape {wanted} as the features' maker has seen, got "
            f"{list(shape)}; embed them by one that was fitted on such"
        )


def space(job) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The map from values to the arrays of the space named by the job's inputs."""
    if job.count("encoder"):
        from routing.loading.feature_encoders import fitted_encoders

        encode = fitted_encoders.load(job.arrays("encoder"), job.metadata("encoder"))
        job.device = encode.device
        return encode.outputs
    import torch  # encoders of pixels start in a second without it

    from routing.networks.classifier import Classifier, ClassifierShape, logits_and_features
    from routing.workflow import devices

    model = job.metadata("classifier")["model"]
    shape = ClassifierShape(**{k: v for k, v in model.items() if k != "name"})
    device = devices.use(job)
    net = Classifier.from_arrays(shape, job.arrays("classifier")).to(device)

    def classify(values: np.ndarray) -> dict[str, np.ndarray]:
        x = devices.moved(torch.from_numpy(values), device)
        logits, features = devices.moved(logits_and_features(net, x), devices.CPU)
        return {"features": features.numpy(), "logits": logits.numpy()}

    return classify
