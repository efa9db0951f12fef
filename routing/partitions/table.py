"""Partitions: which images each of the K experts is trained on.

A method looks at a bounded sample of the training images and returns a rule; the rule says of any
image, one block of rows at a time, which clusters it is in:

    rule = method.fit(space)
    clusters[i, m] = rule(x, positions)       m = 0 the nearest; two columns where clusters overlap

    kmeans           k(x) = argmin_k |x - c_k|^2
    balanced_kmeans  k(x) = argmin_k |x - c_k|^2 - b_k , prices b of the optimal equal assignment
    two_stage        k(x) = coarse cluster of the nearest of ~1024 fine centres (DDM, 2501.05450)
    overlapping      the two nearest of kmeans
    labels           whole labels, grouped where there are more labels than clusters
    random           another partition's clusters, permuted within train and within held-out
    random_equal     equal sizes, at random
    components       whole components of a world that has them

The monolith is k-means with one cluster. Whatever the method, the shares pi_k of the memberships
and the data p_k of the clusters make the whole data again,  sum_k pi_k p_k = p_data : an image in
m clusters counts 1 in each of them, all images have the same m, and pi_k = sizes_k / sum(sizes).

To add a method, write a frozen dataclass with `num_clusters` and `fit(Space) -> Rule` and give it
a row in METHODS; the tests find it there. Options `seed`, `max_fit` where it draws or samples.
"""

from routing.partitions.balanced import BalancedKMeans, PowerDiagram
from routing.partitions.base import Given, Rule, Space
from routing.partitions.given import Components, Random, RandomEqual
from routing.partitions.kmeans import KMeans, Nearest, Overlapping
from routing.partitions.labels import Labels
from routing.partitions.two_stage import Inherited, TwoStage

METHODS: dict[str, type] = {
    "kmeans": KMeans,
    "balanced_kmeans": BalancedKMeans,
    "two_stage": TwoStage,
    "overlapping": Overlapping,
    "labels": Labels,
    "random": Random,
    "random_equal": RandomEqual,
    "components": Components,
}

__all__ = [
    "METHODS",
    "BalancedKMeans",
    "Components",
    "Given",
    "Inherited",
    "KMeans",
    "Labels",
    "Nearest",
    "Overlapping",
    "PowerDiagram",
    "Random",
    "RandomEqual",
    "Rule",
    "Space",
    "TwoStage",
]
