"""Partition methods: k-means by another library, transport by another algorithm, loops."""

import faiss
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans as Reference
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from routing.partitions.agreement import (
    adjusted_rand_index,
    contingency,
    normalised_mutual_information,
    purity,
)
from routing.partitions.balanced_kmeans import balanced_kmeans
from routing.partitions.base import PartitionInputs, cluster_means, squared_distances
from routing.partitions.equal_size_assignment import equal_cluster_sizes, transport
from routing.partitions.kmeans import kmeans, nearest
from routing.partitions.labels import group_by_size, renumber_by_first_label
from routing.partitions.quality import imbalance, separation, silhouettes
from routing.partitions.registry import METHODS


@pytest.fixture(scope="module")
def x():
    return np.ascontiguousarray(load_digits().data / 8 - 1, np.float32)


def inputs(x, labels=None, **more):
    labels = np.zeros(len(x), int) if labels is None else labels
    rng = np.random.default_rng(0)
    parts = {
        "is_train": np.ones(len(x), bool),
        "features_at": lambda rows: x[rows],
        "rng": rng,
        "faiss_seed": 3,
    }
    return PartitionInputs(labels=labels, **(parts | more))


def inertia(x, centroids, clusters=None):
    squares = squared_distances(x, centroids)
    clusters = squares.argmin(1) if clusters is None else clusters
    return squares[np.arange(len(x)), clusters].sum()


# K-means.


@pytest.mark.parametrize("num", [1, 2, 4, 8, 16])
def test_inertia_is_that_of_scikit_learn(num, x):
    ours = inertia(x, kmeans(x, num, 50, 10, 7))
    theirs = Reference(num, n_init=10, random_state=7).fit(x).inertia_
    assert ours == pytest.approx(theirs, rel=0.02)


def test_from_the_same_start_k_means_ends_where_scikit_learn_does(x, monkeypatch):
    """`kmeans` draws its start from the seed alone; here both libraries are given one."""
    for num in (3, 8):
        start = x[np.random.default_rng(num).choice(len(x), num, replace=False)]
        theirs = Reference(num, init=start, n_init=1, max_iter=50, tol=0).fit(x).inertia_
        fit = faiss.Kmeans.train
        with monkeypatch.context() as patch:
            patch.setattr(faiss.Kmeans, "train", lambda s, x, w, c=start, f=fit: f(s, x, w, c))
            assert inertia(x, kmeans(x, num, 50, 1, 7)) == pytest.approx(theirs, rel=1e-3)


def test_more_restarts_and_iterations_are_no_worse(x):
    values = [inertia(x, kmeans(x, 12, n, r, 1)) for n, r in ((1, 1), (50, 1), (50, 10))]
    assert values[0] > values[1] >= values[2]
    one, ten = (np.array([inertia(x, kmeans(x, 12, 50, r, s)) for s in range(4)]) for r in (1, 10))
    assert (ten <= one).all() and (ten < 0.9999 * one).sum() >= 3  # the best of them is kept
    assert len({kmeans(x, 12, 5, 1, number).tobytes() for number in (1, 2, 1)}) == 2


def test_weights_count_as_repetitions():
    x = np.array([[0.0], [1.0], [10.0]], np.float32)
    found = kmeans(x, 2, 20, 5, 0, np.array([3.0, 1.0, 1.0], np.float32))
    assert sorted(found[:, 0].tolist()) == pytest.approx([0.25, 10.0])


def test_k_means_does_not_depend_on_the_threads_and_leaves_them_be(x):
    before, found = faiss.omp_get_max_threads(), []
    threshold = faiss.cvar.distance_compute_blas_threshold
    try:
        for threads in (1, 2, 5):
            faiss.omp_set_num_threads(threads)
            c = kmeans(x, 20, 10, 2, 3)
            found.append((c.tobytes(), nearest(x, c, 3).tobytes()))
            assert faiss.omp_get_max_threads() == threads
    finally:
        faiss.omp_set_num_threads(before)
    assert len(set(found)) == 1
    assert faiss.cvar.distance_compute_blas_threshold == threshold


def test_the_nearest_are_those_of_a_loop_and_do_not_see_the_rows_beside(x):
    c = x[::90] + 0.01
    found = nearest(x, c, 2)
    truth = np.argsort(((x[:, None].astype(float) - c) ** 2).sum(2), axis=1, kind="stable")[:, :2]
    assert np.array_equal(found, truth)
    # Half way between two centroids rounding decides, and a matrix product rounds by the crowd.
    c = np.random.default_rng(1).normal(size=(40, 96)).astype(np.float32)
    half = ((c[:, None] + c[None]) / 2).reshape(-1, 96)
    alone = np.concatenate([nearest(half[i : i + 1], c) for i in range(len(half))])
    assert np.array_equal(nearest(half, c), alone)
    # Ties all over: whatever is done, it is the same for a row alone and in a crowd.
    rng = np.random.default_rng(0)
    x, c = rng.integers(0, 3, (500, 40)) / 7.0, rng.integers(0, 3, (12, 40)) / 7.0
    x, c = x.astype(np.float32), c.astype(np.float32)
    alone = np.concatenate([nearest(x[i : i + 1], c, 2) for i in range(len(x))])
    assert np.array_equal(nearest(x, c, 2), alone)


def test_ties_go_to_the_lower_cluster():
    c = np.array([[2.0], [0.0], [0.0], [2.0]], np.float32)
    x = np.array([[0.0], [1.0], [2.0]], np.float32)
    assert nearest(x, c, 2).tolist() == [[1, 2], [0, 1], [0, 3]]
    assert nearest(x, c)[:, 0].tolist() == [1, 0, 0]


def test_squared_distances_do_not_cancel():
    x = np.array([[1e4, 1e4], [1e4 + 0.01, 1e4]], np.float32)
    truth = (x[:, None].astype(float) - x) ** 2
    np.testing.assert_allclose(squared_distances(x, x), truth.sum(2), rtol=1e-12)
    many = np.random.default_rng(0).normal(size=(9000, 2)).astype(np.float32)
    truth = ((many[:, None].astype(float) - x) ** 2).sum(2)
    np.testing.assert_allclose(squared_distances(many, x), truth, rtol=1e-12)


# Transport.


def solved(cost, capacity):
    """The optimum of the assignment problem with one column per place."""
    places = np.repeat(np.arange(len(cost)), capacity)
    rows, columns = linear_sum_assignment(cost.T[:, places])
    return cost[places[columns], rows].sum()


def problem(kind, num_clusters, num_rows, rng):
    if kind == "points":
        x, c = rng.normal(size=(num_rows, 3)), rng.normal(size=(num_clusters, 3))
        return squared_distances(x, c + [3, 0, 0]).T  # all crowd around the same few
    if kind == "ties":
        return rng.integers(0, 3, (num_clusters, num_rows)).astype(float)
    if kind == "equal":
        return np.zeros((num_clusters, num_rows))
    return rng.normal(size=(num_clusters, num_rows)) * rng.exponential(size=(num_clusters, 1)) ** 3


@pytest.mark.parametrize("kind", ["points", "ties", "equal", "scales"])
@pytest.mark.parametrize(
    ("num_clusters", "num_rows"), [(1, 9), (2, 2), (2, 61), (5, 23), (7, 150)]
)
def test_assignments_of_given_sizes_are_optimal(kind, num_clusters, num_rows):
    for seed in range(4):
        rng = np.random.default_rng([seed, num_rows])
        cost = problem(kind, num_clusters, num_rows, rng)
        uneven = 1 + rng.multinomial(num_rows - num_clusters, rng.dirichlet(np.ones(num_clusters)))
        start = 3 * rng.normal(size=num_clusters)
        for capacity in (equal_cluster_sizes(num_rows, num_clusters), uneven):
            for b in (None, start):
                given = None if b is None else b.copy()
                clusters, prices = transport(cost, capacity, b)
                assert b is None or np.array_equal(b, given)
                assert np.array_equal(np.bincount(clusters, minlength=num_clusters), capacity)
                paid = cost[clusters, np.arange(num_rows)]
                assert paid.sum() == pytest.approx(solved(cost, capacity), rel=1e-12, abs=1e-12)
                # No row is better off elsewhere: the prices prove the optimum.
                reduced = cost - prices[:, None]
                own = reduced[clusters, np.arange(num_rows)]
                assert (own <= reduced.min(0) + 1e-12).all()
                dual = reduced.min(0).sum() + (capacity * prices).sum()
                assert dual == pytest.approx(paid.sum(), rel=1e-9, abs=1e-9)
                if kind in ("points", "scales") and num_clusters > 1:
                    rest = np.sort(reduced, 0)  # strictly: the argmin is the assignment
                    assert np.array_equal(reduced.argmin(0), clusters)
                    assert (rest[1] - rest[0]).min() > 1e-9
                assert prices.sum() == pytest.approx(0, abs=1e-9)


def test_paths_alone_find_the_optimum(monkeypatch):
    """The ascent saves time and decides nothing."""
    monkeypatch.setattr(
        "routing.partitions.equal_size_assignment._ascent", lambda cost, capacity, b: b
    )
    rng = np.random.default_rng(1)
    for num in (2, 6):
        cost, capacity = problem("points", num, 120, rng), equal_cluster_sizes(120, num)
        clusters, _ = transport(cost, capacity)
        assert cost[clusters, np.arange(120)].sum() == pytest.approx(solved(cost, capacity))


def test_the_ascent_leaves_little_to_the_paths():
    from routing.partitions.equal_size_assignment import _ascent

    rng = np.random.default_rng(2)
    cost = problem("points", 8, 4000, rng)
    b = _ascent(cost, equal_cluster_sizes(4000, 8), np.zeros(8))
    sizes = np.bincount((cost - b[:, None]).argmin(0), minlength=8)
    assert np.abs(sizes - 500).max() <= 5 < np.abs(np.bincount(cost.argmin(0)) - 500).max()


def test_prices_are_in_the_middle():
    cost = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 6.0, 7.0]])  # any b_1 - b_0 in 2 .. 6
    clusters, prices = transport(cost, np.array([2, 2]))
    assert clusters.tolist() == [1, 1, 0, 0] and prices.tolist() == [-2.0, 2.0]


def test_equal_sizes():
    assert (
        equal_cluster_sizes(11, 4).tolist() == [3, 3, 3, 2]
        and equal_cluster_sizes(8, 4).tolist() == [2] * 4
    )


# Balanced k-means.


@pytest.mark.parametrize("num", [1, 2, 5])
def test_balanced_k_means_only_goes_down_and_ends_at_a_fixed_point(num, x):
    x = x[:600]
    start = kmeans(x, num, 20, 1, 0)
    before = np.inf
    for iterations in (1, 2, 4, 50):
        rule, clusters = balanced_kmeans(x, start, iterations)
        assert np.array_equal(np.bincount(clusters), equal_cluster_sizes(len(x), num))
        value = inertia(x, rule.centroids, clusters)
        assert value <= before * (1 + 1e-12)
        before = value
        assert np.array_equal(rule(x, np.arange(len(x)))[:, 0], clusters)
    np.testing.assert_allclose(cluster_means(x, clusters, num), rule.centroids, atol=1e-6)
    cost = squared_distances(x, rule.centroids).T
    assert value == pytest.approx(solved(cost, equal_cluster_sizes(len(x), num)), rel=1e-9)
    if num > 1:
        assert value > inertia(x, kmeans(x, num, 50, 5, 0))  # balance has its price


def test_one_iteration_moves_the_centroids_once(x):
    x = x[:200]
    start = kmeans(x, 4, 1, 1, 0)
    first, _ = transport(squared_distances(x, start).T, equal_cluster_sizes(200, 4))
    rule, clusters = balanced_kmeans(x, start, 1)
    assert np.array_equal(rule.centroids, cluster_means(x, first, 4)) and not np.array_equal(
        first, clusters
    )


def test_identical_points_are_shared_out():
    x = np.repeat(np.array([[0.0], [1.0]], np.float32), [9, 1], axis=0)
    _, clusters = balanced_kmeans(x, np.array([[0.0], [1.0]], np.float32), 5)
    assert np.bincount(clusters).tolist() == [5, 5] and clusters[9] == 1


def test_balance_carries_over_to_images_that_were_not_looked_at():
    rng = np.random.default_rng(0)
    sizes = np.array([0.7, 0.2, 0.1])
    centres = 6 * np.eye(3)
    x = centres[rng.choice(3, 24_000, p=sizes)] + rng.normal(size=(24_000, 3))
    x = x.astype(np.float32)
    rule = METHODS["balanced_kmeans"](3, max_fit=4000).fit(inputs(x))
    shares = np.bincount(rule(x, np.arange(len(x)))[:, 0]) / len(x)
    # Of 4,000 rows exact thirds; of all, thirds within three standard errors of a sample.
    np.testing.assert_allclose(shares, 1 / 3, atol=3 * np.sqrt(2 / 9 / 4000))


# Two stages.


@pytest.mark.parametrize("coarse", ["kmeans", "balanced_kmeans"])
def test_fine_centres_inherit_the_coarse_cluster(coarse, x):
    method = METHODS["two_stage"](3, num_fine=20, coarse=coarse)
    rule = method.fit(inputs(x))
    fine = kmeans(x, 20, 50, 1, 3)
    assert np.array_equal(rule.fine, fine)
    centres = kmeans(fine, 3, 100, 10, 3)  # unweighted: a fine centre is one point
    sizes = np.bincount(rule.fine_cluster, minlength=3)
    if coarse == "kmeans":
        of_fine = [int(((f - centres) ** 2).sum(1).argmin()) for f in fine]
        assert rule.fine_cluster.tolist() == of_fine
    else:
        assert sorted(sizes) == [6, 7, 7]
        _, of_fine = balanced_kmeans(fine, centres, 100)
        assert np.array_equal(rule.fine_cluster, of_fine)
    found = rule(x, np.arange(len(x)))
    for i in range(0, len(x), 50):
        closest = ((x[i].astype(float) - fine) ** 2).sum(1).argmin()
        assert found[i].tolist() == [of_fine[closest]]


def test_each_of_the_two_stages_has_its_iterations(x):
    rule = METHODS["two_stage"](6, num_fine=200, iterations=2, restarts=1).fit(inputs(x))
    fine = kmeans(x, 200, 2, 1, 3)
    assert np.array_equal(rule.fine, fine)
    centres = [kmeans(fine, 6, steps, 1, 3) for steps in (100, 2)]
    of_fine = [squared_distances(fine, c).argmin(1) for c in centres]
    assert np.array_equal(rule.fine_cluster, of_fine[0])
    assert not np.array_equal(*of_fine)


# Labels.


def test_labels_are_packed_largest_first_into_the_smallest():
    assert group_by_size(np.array([3, 9, 4, 4, 2]), 2).tolist() == [1, 0, 1, 1, 0]
    assert group_by_size(np.array([5, 5, 5]), 3).tolist() == [0, 1, 2]
    rng = np.random.default_rng(0)
    for _ in range(20):  # Graham: within 4/3 of the best, which is at least the mean
        sizes, num = rng.integers(1, 100, 12), 4
        filled = np.bincount(group_by_size(sizes, num), sizes, num)
        assert filled.max() <= 4 / 3 * max(sizes.sum() / num, sizes.max()) + 1e-9
        assert filled.sum() == sizes.sum()


def test_groups_are_numbered_by_their_first_label():
    assert renumber_by_first_label(np.array([2, 0, 2, 1, 0])).tolist() == [0, 1, 0, 2, 1]
    assert renumber_by_first_label(np.array([1, 1, 2, 0])).tolist() == [0, 0, 1, 2]


def test_labels_keep_together_and_are_grouped_as_asked():
    rng = np.random.default_rng(0)
    names = np.array(["d", "a", "c", "b"], dtype=object)  # b and d alike, a and c alike
    labels = np.repeat(names, [90, 60, 10, 40])
    x = (10 * np.isin(labels, ["a", "c"])[:, None] + rng.normal(size=(200, 2))).astype(np.float32)
    train = rng.random(200) < 0.8
    for group, together in {"size": "a b|c d", "features": "a c|b d"}.items():
        rule = METHODS["labels"](2, group=group).fit(inputs(x, labels, is_train=train))
        found = rule(x, np.arange(200))[:, 0]
        groups = [" ".join(sorted(set(labels[found == k]))) for k in range(2)]
        if group == "size":  # d 90; a 60, b 40 -> 100; c 10 joins d
            assert groups == ["a b", "c d"]
        assert "|".join(groups) == together


def test_label_groups_are_of_the_training_images_alone():
    labels = np.repeat([0, 1, 2], [10, 6, 5])
    train = np.ones(21, bool)
    train[:8] = False  # of label 0 two are left: 1 | 0 2, not 0 | 1 2
    x = np.zeros((21, 1), np.float32)
    found = METHODS["labels"](2).fit(inputs(x, labels, is_train=train))(x, np.arange(21))[:, 0]
    assert [found[0], found[10], found[16]] == [0, 1, 0]


def test_label_means_weigh_as_many_images_as_they_have():
    labels = np.repeat([0, 1, 2, 3], [2, 20, 400, 5])
    x = np.array([0.0, 1.0, 1.9, 9.0], np.float32)[labels][:, None]
    found = METHODS["labels"](3, group="features").fit(inputs(x, labels))(x, np.arange(427))[:, 0]
    # Together 0 and 1 cost 2 * 20 / 22 = 1.8 squares, 1 and 2 cost 15.4; one each, 0.5 and 0.4.
    assert [found[labels == label][0] for label in range(4)] == [0, 0, 1, 2]
    labels = np.repeat([0, 1, 2], [1, 100, 100])
    x = np.array([0.0, 2.8, 3.9], np.float32)[labels][:, None]
    found = METHODS["labels"](2, group="features").fit(inputs(x, labels))(x, np.arange(201))[:, 0]
    assert [found[labels == label][0] for label in range(3)] == [0, 0, 1]  # unweighted: 0, 1, 1


# Agreement and quality.


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 5, 200)
    b = np.where(rng.random(200) < seed / 4, a, rng.integers(3, 9, 200))
    table = contingency(a, b)
    assert table.sum() == 200 and table[0, 0] == ((a == a.min()) & (b == b.min())).sum()
    theirs = normalized_mutual_info_score(a, b), adjusted_rand_score(a, b)
    assert normalised_mutual_information(table) == pytest.approx(theirs[0], abs=1e-12)
    assert adjusted_rand_index(table) == pytest.approx(theirs[1], abs=1e-12)
    loop = sum(np.unique(b[a == k], return_counts=True)[1].max() for k in np.unique(a)) / 200
    assert purity(table) == pytest.approx(loop)


def test_agreement_at_its_ends():
    one, many = np.zeros(6, int), np.arange(6)
    for a, b in ((one, one), (many, many), (one, many)):
        table = contingency(a, b)
        assert normalised_mutual_information(table) == normalized_mutual_info_score(a, b)
        assert adjusted_rand_index(table) == adjusted_rand_score(a, b)
    names = np.array(["x", "x", "y"], dtype=object)
    assert contingency(names, np.array([3, 5, 3])).tolist() == [[1, 1], [1, 0]]
    big = np.full((2, 2), 5_000_000)  # pairs of these overflow 32 bits, their products 64
    assert abs(adjusted_rand_index(big)) < 1e-6


def test_imbalance():
    equal = {"size_ratio": 1, "evenness": pytest.approx(1), "gini": 0}
    assert imbalance(np.array([5, 5, 5])) == equal
    found = imbalance(np.array([30, 10]))
    assert found["size_ratio"] == 3 and found["gini"] == pytest.approx(0.25)
    assert found["evenness"] == pytest.approx(0.8112781244591328)  # bits of (3/4, 1/4)
    found = imbalance(np.array([0, 0, 8, 0]))
    assert found == {"size_ratio": np.inf, "evenness": 0, "gini": 0.75}
    assert imbalance(np.array([4])) == {"size_ratio": 1, "gini": 0}


def test_separation():
    c = np.array([[0, 0], [3, 4], [0, 1]], np.float32)
    found = separation(c)
    np.testing.assert_allclose(found["between_min"], [1, np.sqrt(18), 1])
    np.testing.assert_allclose(found["between_mean"], np.array([6, 5 + 18**0.5, 1 + 18**0.5]) / 2)
    assert separation(c[:1]) == {}


def test_silhouettes():
    x = np.array([[0.0], [2.0], [10.0], [10.0]], np.float32)
    found = silhouettes(x, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found, [0.8, 0.75, 1, 1])
    assert silhouettes(x, np.zeros(4, int)) is None and silhouettes(x, np.arange(4)) is None
