"""Stage features: samples, or the real images, embedded once per feature space.

A space is a trained extractor or a fitted encoder. Samples are clipped and rounded to the
storable values first, as real images were. Rows are in the order of the trainings, and within
each of the seeds (or in the order of the index).
"""

import numpy as np

from routing import encoders, images


def run(job) -> None:
    """Write `features` [samples, dim] (and `logits`, where the space has classes)."""
    parts = [job.arrays("samples", i) for i in range(job.count("samples"))]
    values = np.concatenate([part["samples"] for part in parts])
    levels = job.notes("samples")["levels"]
    if not len(values):
        raise ValueError(f"{job.inputs['samples'][0]}: wanted samples, got none; draw some")
    if values.dtype.kind == "f":
        if bad := int((~np.isfinite(values.reshape(len(values), -1))).any(1).sum()):
            raise ValueError(
                f"{job.inputs['samples'][0]}: wanted finite samples, got nan or inf in {bad} of "
                f"{len(values)}; look at the arm that drew them"
            )
        values = images.quantised(values, levels)
    else:
        values = images.to_values(values, levels)
    arrays = embedded(job, values)
    if asked := [a["asked"] for a in parts if "asked" in a]:
        arrays["asked"] = np.concatenate(asked)[:, None]
    job.write_arrays("features", arrays)


def embedded(job, values: np.ndarray) -> dict[str, np.ndarray]:
    """The features that the space named by the job's inputs gives `values`."""
    if job.count("encoder"):
        return {"features": encoders.encode(job.arrays("encoder"), values)}
    import torch  # half of all jobs are encoders and start in a second without it

    from routing.classifier import Classifier, ClassifierShape, logits_and_features

    model = job.notes("extractor")["model"]
    shape = ClassifierShape(**{k: v for k, v in model.items() if k != "name"})
    net = Classifier.from_arrays(shape, job.arrays("extractor"))
    logits, features = logits_and_features(net, torch.from_numpy(values))
    return {"features": features.numpy(), "logits": logits.numpy()}
