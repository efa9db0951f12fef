"""Principal components: the mean, the directions of largest variance and these variances.

Both functions return (mean [dim], directions [components, dim], variances [components]). The sign
of a direction is that of scikit-learn: its entry of largest magnitude is positive.
"""

from collections.abc import Iterator

import numpy as np


def by_svd(values: np.ndarray, num_components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of values [samples, ...] by one singular value decomposition."""
    from sklearn.decomposition import PCA

    flat = values.reshape(len(values), -1).astype(np.float64)
    fitted = PCA(num_components, whiten=True, svd_solver="full").fit(flat)
    return fitted.mean_, fitted.components_, fitted.explained_variance_


def by_covariance(
    blocks: Iterator[np.ndarray], num_components: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of blocks [samples, ...] as eigenvectors of the covariance.

    The blocks are read once; memory does not grow with the number of samples.
    """
    from scipy.linalg import eigh

    num, shift, total, square = 0, 0.0, 0.0, 0.0
    for block in blocks:
        flat = block.reshape(len(block), -1).astype(np.float64)
        if not num:
            # A point near the mean: without it the difference below would lose its digits.
            shift = flat.mean(0)
        flat -= shift
        num, total, square = num + len(flat), total + flat.sum(0), square + flat.T @ flat
    offset = total / num
    covariance = (square - num * np.outer(offset, offset)) / (num - 1)
    size = len(covariance)
    variances, vectors = eigh(covariance, subset_by_index=[size - num_components, size - 1])
    directions = vectors.T[::-1]
    largest = directions[np.arange(num_components), np.abs(directions).argmax(1)]
    return shift + offset, directions * np.sign(largest)[:, None], variances[::-1].clip(0)
