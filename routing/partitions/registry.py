"""Partitions of the training images: each of the K experts is trained on one cluster.

A method is fitted to a bounded sample of the training images and returns a rule. The rule assigns
any image to one cluster, or to two where clusters overlap, one block of rows at a time:

    rule = method.fit(inputs)
    clusters[i, m] = rule(x, positions)       m = 0 the nearest; two columns where clusters overlap

    kmeans           k(x) = argmin_k |x - c_k|^2
    balanced_kmeans  k(x) = argmin_k |x - c_k|^2 - b_k , prices b of the optimal equal assignment
    two_stage        k(x) = coarse cluster of the nearest of ~1024 fine centres (DDM, 2501.05450)
    overlapping      the clusters of the two nearest k-means centroids
    labels           whole labels, grouped where there are more labels than clusters
    random           the clusters of another partition, permuted within train and within held-out
    random_equal     random clusters of equal size
    components       whole components of a Gaussian mixture (exact world)

The monolith, one model of all the data, is k-means with one cluster. For every method the
proportions pi_k of the memberships and the data p_k of the clusters satisfy  sum_k pi_k p_k =
p_data : an image in m clusters counts once in each of them, m is the same for all images, and
pi_k = sizes_k / sum(sizes).

To add a method, write a file with a frozen dataclass that has `num_clusters` and
`fit(PartitionInputs) -> AssignmentRule`, and give it a row in METHODS; the tests find it there.
Give it the option `seed` if it draws random numbers, and `max_fit` if it samples images.
"""

from routing.partitions.balanced_kmeans import BalancedKMeans
from routing.partitions.components import Components
from routing.partitions.kmeans import KMeans
from routing.partitions.labels import Labels
from routing.partitions.overlapping import Overlapping
from routing.partitions.random import Random
from routing.partitions.random_equal import RandomEqual
from routing.partitions.two_stage import TwoStage

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
