"""Agreement of two partitions of the same images, from their contingency table.

With n[a, b] images in clusters a and b, row sums n_a, column sums n_b, and n the total:

    I       = sum (n_ab / n) log(n n_ab / (n_a n_b))
    NMI     = I / ((H_a + H_b) / 2)                      in [0, 1]; 1 if both have one cluster
    ARI     = (pairs - expected) / ((pairs_a + pairs_b) / 2 - expected)
              pairs = sum C(n_ab, 2), pairs_a = sum C(n_a, 2), expected = pairs_a pairs_b / C(n, 2)
    purity  = sum_a max_b n_ab / n                       of the rows; 1 if each is in one column

NMI and ARI equal those of scikit-learn (arithmetic mean; Hubert and Arabie 1985). NMI grows with
the number of clusters even for random clusters, and purity much more. ARI is 0 for random clusters
on average.
"""

import numpy as np
from jaxtyping import Int, Shaped

Table = Int[np.ndarray, "clusters others"]  # numbers of images, at least one in total


def contingency(
    clusters: Shaped[np.ndarray, " images"], others: Shaped[np.ndarray, " images"]
) -> Table:
    """Return the numbers of images by cluster of both partitions, in ascending order."""
    (names, a), (other_names, b) = (np.unique(c, return_inverse=True) for c in (clusters, others))
    pair = a * len(other_names) + b
    table = np.bincount(pair, minlength=len(names) * len(other_names))
    return table.reshape(len(names), len(other_names))


def normalised_mutual_information(table: Table) -> float:
    """Return the NMI."""
    p = table / table.sum()
    p_a, p_b = p.sum(axis=1), p.sum(axis=0)
    shared = _entropy(p_a) + _entropy(p_b) - _entropy(p.ravel())
    mean = (_entropy(p_a) + _entropy(p_b)) / 2
    return float(max(0.0, shared) / mean) if mean > 0 else 1.0


def adjusted_rand_index(table: Table) -> float:
    """Return the ARI; it is 1 if both have one cluster, or both one image per cluster."""
    together, of_a, of_b = (_pairs(n) for n in (table, table.sum(axis=1), table.sum(axis=0)))
    expected = of_a * of_b / max(_pairs(table.sum(keepdims=True)), 1.0)
    most = (of_a + of_b) / 2
    return float((together - expected) / (most - expected)) if most != expected else 1.0


def purity(table: Table) -> float:
    """Return the purity of the rows."""
    return float(table.max(axis=1).sum() / table.sum())


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _pairs(n: np.ndarray) -> float:
    return float((n * (n - 1) / 2).sum())
