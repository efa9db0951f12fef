"""Stage embed: features of the real samples in an encoder's space, where partitions are made.

An encoder is fitted on the train split only (or not at all) and is an artifact itself, since
routers by distance and cluster shares need the features of generated samples too. To add one,
write a frozen dataclass with `fit(values) -> arrays` and a row in ENCODERS, and teach
`routing.encoders.encode` its arrays.
"""

from dataclasses import dataclass

import numpy as np

from routing import choices, encoders, images


@dataclass(frozen=True)
class PCA:
    """Whitened principal components of the pixels; `dim` of them."""

    dim: int = 32

    def __post_init__(self) -> None:
        """Refuse an empty projection."""
        if self.dim < 1:
            raise ValueError(f"pca wants dim >= 1, got {self.dim}; raise it")

    def fit(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Mean and projection whose outputs have unit variance on `values` [samples, ...]."""
        from sklearn.decomposition import PCA as Decomposition

        flat = values.reshape(len(values), -1).astype(np.float64)
        if self.dim > min(flat.shape):
            raise ValueError(f"pca wants dim <= {min(flat.shape)} here, got {self.dim}; lower it")
        fitted = Decomposition(self.dim, whiten=True, svd_solver="full").fit(flat)
        scale = np.sqrt(fitted.explained_variance_)
        if scale.min() <= 1e-9 * scale.max():
            raise ValueError(f"pca: component {self.dim} has no variance to whiten; lower dim")
        return {"mean": fitted.mean_, "projection": (fitted.components_.T / scale)}


@dataclass(frozen=True)
class Identity:
    """The values themselves, flattened."""

    def fit(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Nothing to fit: zero mean, unit projection."""
        dim = int(np.prod(values.shape[1:]))
        return {"mean": np.zeros(dim), "projection": np.eye(dim)}


ENCODERS = {"pca": PCA, "identity": Identity}


def run(job) -> None:
    """Write `encoder` and `features` of every sample, in the order of the index."""
    encoder = choices.build(choices.rows("encoders", ENCODERS), job.spec["encoder"], "encoder")
    values = images.to_values(job.arrays("samples")["samples"], job.notes("samples")["levels"])
    train = (job.table("index")["split"] == "train").to_numpy()
    arrays = encoder.fit(values[train])
    job.write_arrays("encoder", arrays)
    job.write_arrays("features", {"features": encoders.encode(arrays, values)})
