"""Principal components in one pass are those of scikit-learn."""

import numpy as np
from sklearn.decomposition import PCA as Decomposition

from routing.loading.feature_encoders.principal_components import by_covariance


def test_components_in_one_pass():
    """Far from zero too, where a careless covariance loses its digits; blocks of any size."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(501, 2, 3)) @ rng.normal(size=(3, 3)) + 1e5
    flat = values.reshape(501, 6)
    truth = Decomposition(4, svd_solver="full").fit(flat)
    for size in (1, 100, 501):
        blocks = (values[i : i + size] for i in range(0, 501, size))
        mean, directions, variances = by_covariance(blocks, 4)
        np.testing.assert_allclose(mean, truth.mean_, rtol=1e-12)
        np.testing.assert_allclose(variances, truth.explained_variance_, rtol=1e-7)
        np.testing.assert_allclose(directions, truth.components_, atol=1e-7)


def test_no_variance_is_below_zero():
    """Of points on a line, whatever rounding says."""
    line = np.random.default_rng(0).normal(size=(50, 1)) * np.array([3.0, -1.0, 0.1, 7.0])
    _, directions, variances = by_covariance(iter(line[:, None].reshape(5, 10, 4)), 4)
    assert (variances >= 0).all() and variances[1:].max() < 1e-12 * variances[0]
    np.testing.assert_allclose(directions @ directions.T, np.eye(4), atol=1e-12)
