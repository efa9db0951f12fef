"""Quality of a partition before any expert is trained: balance of sizes, and geometry.

For cluster sizes n_k, with p_k = n_k / n:

    size_ratio  = max_k n_k / min_k n_k                    1 = equal; inf if a cluster is empty
    evenness    = -sum_k p_k log p_k / log K               1 = equal (Pielou 1966)
    gini        = sum_jk |n_j - n_k| / (2 K n)             0 = equal, 1 - 1/K = all in one

For centroids, the minimum and the mean of |c_j - c_k| from each cluster to the K - 1 others. For
points, the silhouette (b - a) / max(a, b), with a the mean distance to the points of the own
cluster and b the mean distance to those of the nearest other cluster (Rousseeuw 1987). A quantity
that needs two clusters is left out for one.
"""

import numpy as np
from jaxtyping import Float, Int

Values = dict[str, float]
Each = dict[str, Float[np.ndarray, " clusters"]]


def imbalance(sizes: Int[np.ndarray, " clusters"]) -> Values:
    """Return size_ratio, gini, and evenness of several clusters; not all sizes may be 0."""
    n, num = sizes.astype(np.float64), len(sizes)
    p = n[n > 0] / n.sum()
    found = {"size_ratio": float(n.max() / n.min()) if n.min() > 0 else np.inf}
    if num > 1:
        found["evenness"] = float(-(p * np.log(p)).sum() / np.log(num))
    found["gini"] = float(np.abs(n[:, None] - n).sum() / (2 * num * n.sum()))
    return found


def separation(centroids: Float[np.ndarray, "clusters dim"]) -> Each:
    """Return between_min and between_mean of each cluster; empty for a single cluster."""
    num = len(centroids)
    if num == 1:
        return {}
    c = centroids.astype(np.float64)
    others = np.stack(
        [np.delete(np.linalg.norm(c - c[k], axis=1), k) for k in range(num)]
    )  # [clusters, clusters - 1]
    return {"between_min": others.min(axis=1), "between_mean": others.mean(axis=1)}


def silhouettes(
    x: Float[np.ndarray, "rows dim"], clusters: Int[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"] | None:
    """Return the silhouette of each row; None unless `clusters` has 2 .. rows - 1 values."""
    from sklearn.metrics import silhouette_samples

    if not 2 <= len(np.unique(clusters)) < len(clusters):
        return None
    return silhouette_samples(x.astype(np.float64), clusters)
