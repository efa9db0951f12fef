"""Stage features: samples, or a shard of the real images, embedded once per feature space.

A space is a trained extractor or an encoder. Latents are decoded, unless the encoder reads them;
samples are then clipped and rounded to the storable values, as real images were. Rows are in the
order of the trainings, and within each of the seeds (or as in the shard). One batch is in memory
at a time.
"""

from collections.abc import Callable, Iterator

import numpy as np

from routing import images

BATCH = 512  # samples at a time
LEVELS = 255  # of decoded images


def run(job) -> None:
    """Write `features` [samples, dim] (and `logits`, where the space has classes)."""
    num = job.count("samples")
    parts = [job.mapped("samples", i) for i in range(num)]
    if not sum(len(part["samples"]) for part in parts) and "shard" not in job.spec:
        raise ValueError(f"{job.inputs['samples'][0]}: wanted samples, got none; draw some")
    embed, see = space(job), viewer(job)

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for i, part in enumerate(parts):
            for first in range(0, max(1, len(part["samples"])), BATCH):
                rows = slice(first, first + BATCH)
                stored = np.asarray(part["samples"][rows])
                refuse_broken(stored, job.inputs["samples"][i])
                block = embed(see(stored))
                if "asked" in part:
                    block["asked"] = np.asarray(part["asked"][rows])[:, None]
                yield block

    job.write_rows("features", blocks())


def refuse_broken(stored: np.ndarray, path: object) -> None:
    """Raise ValueError if samples are nan or inf."""
    if stored.dtype.kind == "f":
        broken = ~np.isfinite(stored).all(axis=tuple(range(1, stored.ndim)))
        if bad := int(broken.sum()):
            raise ValueError(
                f"{path}: wanted finite samples, got nan or inf in {bad} of {len(stored)}; look "
                f"at the arm that drew them"
            )


def viewer(job) -> Callable[[np.ndarray], np.ndarray]:
    """What the space sees of stored samples: values as of stored images."""
    levels = job.notes("samples")["levels"]
    if job.spec["codec"]:
        import torch

        from routing import codec

        decode = codec.load(job.notes("samples")["codec"]).decode  # those weights or none
        return lambda latents: images.quantised(decode(torch.from_numpy(latents)).numpy(), LEVELS)

    def see(stored: np.ndarray) -> np.ndarray:
        if stored.dtype.kind == "f":
            return images.quantised(stored, levels)
        return images.to_values(stored, levels)

    return see


def space(job) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """The map from values to the arrays of the space named by the job's inputs."""
    if job.count("encoder"):
        from routing import encoders

        encode = encoders.load(job.arrays("encoder"), job.notes("encoder"))
        job.device = encode.device
        return lambda values: {"features": encode(values)}
    import torch  # encoders of pixels start in a second without it

    from routing import devices
    from routing.classifier import Classifier, ClassifierShape, logits_and_features

    model = job.notes("extractor")["model"]
    shape = ClassifierShape(**{k: v for k, v in model.items() if k != "name"})
    device = devices.use(job)
    net = Classifier.from_arrays(shape, job.arrays("extractor")).to(device)

    def classify(values: np.ndarray) -> dict[str, np.ndarray]:
        x = devices.moved(torch.from_numpy(values), device)
        logits, features = devices.moved(logits_and_features(net, x), devices.CPU)
        return {"features": features.numpy(), "logits": logits.numpy()}

    return classify
