"""The table of metrics: names, directions and ranges hold for every row."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from routing.figures.shared import metric_labels
from routing.metrics.feature_space_names import metric_name
from routing.metrics.formulas.clip_score import cosines
from routing.metrics.formulas.frechet_distance import (
    FrechetReference,
    frechet_bootstrap,
    frechet_distance,
    sample_size_note,
)
from routing.metrics.formulas.inception_score import torch_fidelity_order
from routing.metrics.formulas.kernel_distance import KernelReference, kernel_distance
from routing.metrics.formulas.sample_size_extrapolation import subset_sizes
from routing.metrics.protocol import FeatureSpaceMetric, LPIPSDistances
from routing.metrics.registry import METRICS, ArmSamples, Kind, Metric, ReferenceSamples
from routing.statistics.bootstrap import bootstrap_counts
from routing.statistics.jackknife import jackknife_weights, seed_blocks

NUM, DIM, K = 48, 4, 3
OPTIONS = {name: {} for name in METRICS} | {"inception_score": {"num_splits": 3}}
OF_SAMPLES = (
    "features",
    "predicted_classes",
    "requested_classes",
    "clusters",
    "inception_logits",
    "caption_features",
)
OF_SAMPLES += ("prefixed_caption_features",)  # row by row
# Draws of the others would take hours, or see copies of one sample as neighbours.
RESAMPLED = {"frechet", "kernel", "cmmd", "inception_score", "copies", "class_shares"}
RESAMPLED |= {"cluster_shares", "agreement", "clip_score"}


def normal(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def real(rng, num=120):
    points = normal(rng, num, DIM)
    clusters = torch.arange(num) % K
    return ReferenceSamples(
        points, clusters, K, normal(rng, 30, DIM), lambda: iter(points.split(50))
    )


def view(measure, rng, features=None, of=None):
    of = of or real(rng)
    features = normal(rng, NUM, DIM) if features is None else features
    pairs, to = torch.rand(6, 6, generator=rng).double(), torch.rand(NUM, generator=rng).double()
    shares = torch.full((K,), 1 / K, dtype=torch.float64)
    return ArmSamples(
        features=features,
        reference=measure.fit(of),
        weights=jackknife_weights(seed_blocks(NUM, 6)),
        metric_name=lambda kind: metric_name(kind, "toy", None, measure.name_suffixes(kind)),
        order=torch.from_numpy(np.random.default_rng(0).permutation(NUM)),
        class_names=("a", "b", "c"),
        class_shares=shares,
        cluster_shares=shares,
        predicted_classes=torch.randint(K, (NUM,), generator=rng),
        requested_classes=torch.randint(K, (NUM,), generator=rng),
        clusters=torch.arange(NUM) % K,
        point_clusters=of.clusters,
        inception_logits=normal(rng, NUM, 7),
        caption_features=normal(rng, NUM, DIM),
        prefixed_caption_features=normal(rng, NUM, DIM),
        lpips=LPIPSDistances("alex", pairs, torch.full((6, 6), 64.0), to, "monolith", "all"),
    )


def made(name, rng, **more):
    measure = METRICS[name](**OPTIONS[name])
    return measure, view(measure, rng, **more)


def taken(seen, rows):
    """The same of some rows, each counting once."""
    parts = {name: getattr(seen, name)[rows] for name in OF_SAMPLES}
    ones = torch.ones(1, len(rows), dtype=torch.float64)
    places = {row: place for place, row in enumerate(rows.tolist())}
    order = torch.tensor([places[row] for row in seen.order.tolist() if row in places])
    return replace(seen, weights=ones, order=order, **parts)


def kind_of(name, metric, measure):
    """The kind of a number of the metric `name`, as its table has it."""
    kinds = measure.kinds
    if "_cluster_" in metric:
        word = metric.split("_")[0]
        return {"fd": "frechet_cluster", "kd": "kernel_cluster"}.get(word, f"{word}_cluster")
    if name == "lpips":
        return "lpips_diversity" if metric.endswith("_diversity") else "lpips_to"
    if "_share_" in metric:
        return metric.rsplit("_", 1)[0]
    if metric in kinds:
        return metric
    return {metric_name(k, "toy", None, measure.name_suffixes(k)): k for k in kinds}[metric]


def test_the_options_are_of_the_table():
    assert OPTIONS.keys() == METRICS.keys()


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_in_the_module_of_its_name(name):
    assert METRICS[name].__module__ == f"routing.metrics.{name}"


@pytest.mark.parametrize("name", METRICS)
def test_names_directions_and_ranges_are_what_is_said(name, rng):
    measure, seen = made(name, rng)
    found = measure.replicates(seen)
    assert found and all(v.shape == (7,) for v in found.values())
    seen_kinds = set()
    for metric, values in found.items():
        seen_kinds.add(kind := kind_of(name, metric, measure))
        of = measure.kinds[kind]
        assert metric_labels.direction(metric) == of.direction, metric
        assert ((values >= of.low - 1e-9) & (values <= of.high + 1e-9)).all(), metric
        assert metric_labels.metric_label(metric) and values.isfinite().all()
    assert seen_kinds == measure.kinds.keys()
    for kind, of in measure.kinds.items():
        assert isinstance(of, Kind) and of.low < of.high, kind


@pytest.mark.parametrize("name", METRICS)
def test_twice_the_same_and_a_replicate_is_the_metric_of_what_is_left(name, rng):
    measure, seen = made(name, rng)
    found, again = measure.replicates(seen), measure.replicates(seen)
    for metric, values in found.items():
        assert torch.equal(values, again[metric])
    alone = measure.replicates(replace(seen, weights=seen.weights[[3]]))
    for metric, values in found.items():
        torch.testing.assert_close(values[[3]], alone[metric], rtol=1e-9, atol=1e-9)
    if name in ("lpips", "inception_score"):  # their pairs and splits are of all samples
        return
    rest = measure.replicates(taken(seen, seen.weights[3].nonzero()[:, 0]))
    assert rest.keys() == found.keys()
    for metric, values in found.items():
        torch.testing.assert_close(values[[3]], rest[metric], rtol=1e-7, atol=1e-7)


def test_what_resamples():
    assert {name for name in METRICS if METRICS[name].supports_bootstrap} == RESAMPLED
    assert {name for name in METRICS if METRICS[name].bootstrap is not Metric.bootstrap} == {
        "frechet",  # of its first-order expansion
        "lpips",  # of the distances to the baseline alone
    }


@pytest.mark.parametrize(
    "name", ["class_shares", "cluster_shares", "agreement", "clip_score", "copies", "lpips"]
)
def test_a_draw_counts_a_sample_as_often_as_it_is_drawn(name, rng):
    measure, seen = made(name, rng)
    counts = bootstrap_counts(NUM, 3, np.random.default_rng(1))
    rows = torch.arange(NUM).repeat_interleave(counts[1].long())
    drawn = measure.bootstrap(seen, counts)
    if name == "lpips":
        assert drawn.keys() == {"lpips_alex_to_monolith"}
        expected = {"lpips_alex_to_monolith": seen.lpips.to_baseline[rows].mean()[None]}
    else:
        copies = {part: getattr(seen, part)[rows] for part in OF_SAMPLES}
        expected = measure.replicates(
            replace(seen, weights=torch.ones(1, NUM, dtype=torch.float64), **copies)
        )
    assert drawn.keys() == expected.keys()
    for metric, values in drawn.items():
        torch.testing.assert_close(values[[1]], expected[metric])


def test_draws_of_the_frechet_distance_do_not_add_its_bias(rng):
    measure, seen = made("frechet", rng)
    counts = bootstrap_counts(NUM, 40, np.random.default_rng(1))
    found = measure.bootstrap(seen, counts)["fd_toy"]
    assert torch.equal(found, frechet_bootstrap(seen.features, seen.reference, counts))
    assert found.mean() < frechet_distance(seen.features, seen.reference, counts).mean()


@pytest.mark.parametrize("name", sorted(RESAMPLED))
def test_a_draw_of_everyone_once_is_the_metric(name, rng):
    measure, seen = made(name, rng)
    once = torch.ones(2, NUM, dtype=torch.float64)
    drawn, found = measure.bootstrap(seen, once), measure.replicates(seen)
    assert drawn.keys() == found.keys()
    for metric, values in drawn.items():
        torch.testing.assert_close(values, found[metric][:1].expand(2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_the_mean_of_the_scores_is_the_metric(name, rng):
    measure, seen = made(name, rng)
    found = measure.replicates(seen)
    for metric, score in measure.scores(seen).items():
        assert found[metric][0].item() == pytest.approx(score.double().mean().item())


def test_the_right_way_round(rng):
    """Shifted samples are farther, collapsed ones less various and nearer to the data."""
    of = real(rng)
    good = normal(rng, NUM, DIM)
    collapsed = good * 0.05
    by_cluster = ("cluster_frechet", "cluster_kernel")
    for name in ("frechet", "frechet_infinity", "kernel", "energy", "cmmd", *by_cluster):
        measure = METRICS[name]()
        near, far = (
            next(iter(measure.replicates(view(measure, rng, x, of)).values()))[0]
            for x in (good, good + 3)
        )
        assert near < far, name
    vendi = METRICS["vendi"]()
    same = torch.ones(NUM, DIM).double() + 0.01 * good
    various, alike = (vendi.replicates(view(vendi, rng, x, of)) for x in (good, same))
    assert alike["vendi_toy"][0] < 1.1 < various["vendi_toy"][0]
    near = METRICS["neighbours"]()
    found = near.replicates(view(near, rng, collapsed, of))
    assert found["precision_toy"][0] > 0.9 and found["recall_toy"][0] < 0.2
    assert found["density_toy"][0] > 1
    copies = METRICS["copies"]()
    found = copies.replicates(view(copies, rng, of.points[:NUM].clone(), of))
    assert found["copy_ratio_toy"][0] == 0 == found["authenticity_toy"][0]


@pytest.mark.parametrize("kind", ["class", "cluster"])
def test_shares_are_of_their_own_categories_beside_their_own_truth(kind, rng):
    measure, seen = made(f"{kind}_shares", rng)
    truth = {"class": torch.tensor([0.5, 0.3, 0.2]), "cluster": torch.tensor([0.1, 0.1, 0.8])}
    truth = {f"{name}_shares": shares.double() for name, shares in truth.items()}
    clusters = torch.tensor([0] * 30 + [1] * 10 + [2] * 8)
    seen = replace(seen, clusters=clusters, predicted_classes=2 - clusters.roll(5), **truth)
    found = measure.replicates(seen)
    said = seen.predicted_classes if kind == "class" else clusters
    for row, block in ((0, -1), (3, 2)):
        kept = torch.arange(NUM) // 8 != block
        p = said[kept].bincount(minlength=3) / kept.sum()
        q = truth[f"{kind}_shares"]
        names = seen.class_names if kind == "class" else "012"
        each = [found[f"{kind}_share_{name}"][row].item() for name in names]
        assert each == pytest.approx(p.tolist())
        assert found[f"{kind}_tv"][row].item() == pytest.approx(((p - q).abs().sum() / 2).item())
        assert found[f"{kind}_kl"][row].item() == pytest.approx((p * (p / q).log()).sum().item())
        if kind == "cluster":
            worst = found["cluster_coverage"][row].item()
            assert worst == pytest.approx((p / q).min().item())


BY_CLUSTER = pytest.mark.parametrize(
    ("name", "word"), [("cluster_frechet", "fd"), ("cluster_kernel", "kd")]
)


@BY_CLUSTER
def test_a_cluster_without_samples_has_no_distance(name, word, rng):
    measure, seen = made(name, rng)
    starved = replace(seen, clusters=torch.zeros(NUM, dtype=torch.long))
    assert set(measure.replicates(starved)) == {f"{word}_toy_cluster_0"}
    assert "no row for clusters 1, 2, which have fewer than 2 samples" in measure.note(starved)
    whole = measure.replicates(seen)
    assert set(whole) == {f"{word}_toy_cluster_{k}" for k in (0, 1, 2, "worst")}
    assert "no row" not in measure.note(seen)
    each = torch.stack([whole[f"{word}_toy_cluster_{k}"] for k in range(3)])
    assert torch.equal(whole[f"{word}_toy_cluster_worst"], each.max(0).values)


@BY_CLUSTER
def test_a_cluster_with_one_sample_in_some_replicate_has_no_distance(name, word, rng):
    measure, seen = made(name, rng)
    clusters = torch.full((NUM,), 2)
    clusters[[0, 8]] = 0  # two blocks: without one of them a single sample is left
    clusters[[1, 9, 17]] = 1
    few = replace(seen, clusters=clusters)
    assert set(measure.replicates(few)) == {f"{word}_toy_cluster_1", f"{word}_toy_cluster_2"}
    assert "no row for cluster 0, which has fewer than 2 samples in some" in measure.note(few)


def test_the_smallest_cluster_says_what_its_distance_is_worth(rng, monkeypatch):
    measure, seen = made("cluster_frechet", rng)
    clusters = torch.tensor([0] * 30 + [1] * 3 + [2] * 15)[torch.randperm(NUM, generator=rng)]
    few = replace(seen, clusters=clusters, weights=seen.weights[:1])
    start = "the bias depends on the number of samples in a cluster; in the smallest cluster, 1: "
    assert measure.note(few) == start + sample_size_note(3, few.reference.cluster(1))
    assert not METRICS["cluster_kernel"]().note(few)
    monkeypatch.setattr(
        "routing.metrics.cluster_frechet.sample_size_note", lambda *_: ""
    )  # of enough samples
    assert measure.note(few) == f"{start}3 samples"


def test_clusters_of_different_size_compare_by_the_kernel_distance_alone(rng):
    """Draws of one law: the Frechet distance is larger where a cluster has fewer of them."""
    of, once = real(rng), torch.ones(1, NUM, dtype=torch.float64)
    found = {"fd": [], "kd": []}
    for name, word in (("cluster_frechet", "fd"), ("cluster_kernel", "kd")):
        measure = METRICS[name]()
        for num in (40, 5):  # samples in cluster 0
            clusters = (torch.arange(NUM) >= num).long()
            seen = replace(view(measure, rng, of=of), clusters=clusters, weights=once)
            each = torch.stack(
                [
                    measure.replicates(replace(seen, features=normal(rng, NUM, DIM)))[
                        f"{word}_toy_cluster_0"
                    ][0]
                    for _ in range(300)
                ]
            )
            found[word].append((each.mean(), each.std() / 300**0.5))
    (big, _), (small, se) = found["fd"]
    assert small - big > 20 * se
    (big, se_big), (small, se) = found["kd"]
    assert abs(small - big) < 4 * torch.hypot(se, se_big)


def uneven(rng):
    """Real images in clusters of 50, 3 (no full covariance) and 67, of 4 dimensions."""
    of = real(rng)
    clusters = torch.repeat_interleave(torch.arange(3), torch.tensor([50, 3, 67]))
    return replace(of, clusters=clusters[torch.randperm(120, generator=rng)])


@pytest.mark.parametrize(
    ("name", "word", "known", "distance"),
    [
        ("cluster_frechet", "fd", FrechetReference, frechet_distance),
        ("cluster_kernel", "kd", KernelReference, kernel_distance),
    ],
)
def test_distances_cluster_by_cluster_are_of_their_own_samples_and_images(
    name, word, known, distance, rng
):
    of = uneven(rng)
    features = normal(rng, NUM, DIM) + torch.arange(NUM)[:, None] % 3
    measure, seen = made(name, rng, features=features, of=of)
    found = measure.replicates(seen)
    for k in range(3):
        mine = torch.arange(NUM) % 3 == k
        reference = known.fit(of.points[of.clusters == k])
        truth = distance(features[mine], reference, seen.weights[:, mine])
        torch.testing.assert_close(found[f"{word}_toy_cluster_{k}"], truth, rtol=1e-6, atol=1e-6)


def test_recall_cluster_by_cluster_is_that_of_a_loop(rng):
    """With 3 and 5 neighbours; of a fourth cluster no image is among the points."""
    of = uneven(rng)
    measure, seen = made("cluster_recall", rng, of=of)
    whole = measure.replicates(seen)
    x, y = seen.features.numpy(), of.points.numpy()
    own = np.sort(np.linalg.norm(x[:, None] - x, axis=2), axis=1)[:, 3]
    theirs = np.sort(np.linalg.norm(y[:, None] - y, axis=2), axis=1)[:, 5]
    far = np.linalg.norm(x[:, None] - y, axis=2)
    points = {"recall": (far <= own[:, None]).any(0), "coverage": (far <= theirs).any(0)}
    for kind, is_hit in points.items():
        truth = [is_hit[of.clusters.numpy() == k].mean() for k in range(3)]
        each = [whole[f"{kind}_toy_cluster_{k}"][0].item() for k in range(3)]
        assert each == pytest.approx(truth)
        assert whole[f"{kind}_toy_cluster_worst"][0].item() == pytest.approx(min(truth))
    moved = torch.tensor([0, 2, 3])[of.clusters]
    few = replace(seen, point_clusters=moved, cluster_shares=torch.full((4,), 0.25).double())
    found = measure.replicates(few)
    assert found.keys() == {f"{kind}_toy_cluster_{k}" for kind in points for k in (0, 2, 3)}
    for kind in points:
        for k, place in enumerate((0, 2, 3)):
            ours, theirs = (t[f"{kind}_toy_cluster_{j}"] for t, j in ((found, place), (whole, k)))
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("options", [{"num_splits": 3}, {}])
def test_the_inception_score_is_that_of_a_loop_over_splits(options, rng):
    measure = METRICS["inception_score"](**options)
    seen = replace(view(measure, rng), weights=torch.ones(1, NUM, dtype=torch.float64))
    p = seen.inception_logits.softmax(1).numpy()[torch_fidelity_order(NUM)]
    num = options.get("num_splits", 10)
    ends = [i * NUM // num for i in range(num + 1)]
    parts = [p[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    truth = [np.exp((q * np.log(q / q.mean(0))).sum(1).mean()) for q in parts]
    (found,) = measure.replicates(seen).values()
    assert found.item() == pytest.approx(np.mean(truth))


def test_the_limit_of_the_frechet_distance_is_an_intercept_in_the_given_order(rng):
    measure, seen = made("frechet_infinity", rng)
    n = subset_sizes(NUM)
    each = [
        frechet_distance(seen.features[seen.order[:k]], seen.reference, torch.ones(1, int(k)))
        for k in n
    ]
    slope, intercept = np.polyfit(1 / n, torch.cat(each).numpy(), 1)
    found = measure.replicates(seen)["fd_infinity_toy"][0].item()
    assert found == pytest.approx(intercept) and slope > 0


def test_a_limit_from_subsets_below_the_dimensions_is_said_to_be_none(rng):
    for dim, least in ((3, 4), (4, 4), (5, 4)):
        points = normal(rng, 120, dim)
        held = normal(rng, 30, dim)
        of = replace(real(rng), points=points, heldout=held, blocks=lambda p=points: iter([p]))
        measure, seen = made("frechet_infinity", rng, features=normal(rng, NUM, dim), of=of)
        few = f"subsets of {least} to {NUM} samples in {dim} dimensions"
        assert measure.note(seen).startswith(few) == (least <= dim)
        assert bool(measure.note(seen)) == (least <= dim)
        singular = FrechetReference.fit(of.points[: dim - 1])
        said = measure.note(replace(seen, reference=singular))
        assert f"the covariance of {dim - 1} reference images" in said and (few in said) == (
            least <= dim
        )


def test_copies_are_measured_against_held_out_images(rng):
    of = real(rng)
    measure, seen = made("copies", rng, of=of)
    near = [torch.cdist(x, of.points).min(1).values.mean() for x in (seen.features, of.heldout)]
    found = measure.replicates(seen)["copy_ratio_toy"][0]
    assert found.item() == pytest.approx((near[0] / near[1]).item())


def test_the_conventions_of_the_clip_score(rng):
    measure, seen = made("clip_score", rng)
    seen = replace(
        seen, caption_features=seen.caption_features + seen.features
    )  # the mean is above 0
    found, c = measure.replicates(seen), cosines(seen.features, seen.caption_features)
    after = cosines(seen.features, seen.prefixed_caption_features)
    assert found["clip_score_toy"][0].item() == pytest.approx(c.mean().item())
    assert found["clip_score_hessel_toy"][0].item() == pytest.approx(
        2.5 * after.clamp_min(0).mean().item()
    )
    assert found["clip_score_hundred_toy"][0].item() == pytest.approx(100 * c.mean().item())
    assert c.min() < 0 < c.mean()  # else conventions agree


def test_the_published_cmmd_is_the_biased_one(rng):
    found = METRICS["cmmd"]().replicates(made("cmmd", rng)[1])
    assert (found["mmd_toy"] > found["mmd_unbiased_toy"]).all()


@pytest.mark.parametrize("name", ["class_shares", "agreement"])
def test_classes_are_wanted_where_they_are_counted(name, rng):
    measure, seen = made(name, rng)
    with pytest.raises(ValueError, match=f"metrics: '{name}' wants a classifier with classes"):
        measure.replicates(replace(seen, predicted_classes=None))


def test_an_arm_that_asks_for_nothing_has_no_agreement_and_no_clip_score(rng):
    for name, part in (("agreement", "requested_classes"), ("clip_score", "caption_features")):
        measure, seen = made(name, rng)
        assert measure.replicates(replace(seen, **{part: None})) == {}
    measure, seen = made("lpips", rng)
    first = replace(seen, lpips=replace(seen.lpips, to_baseline=None))
    assert set(measure.replicates(first)) == {"lpips_alex_diversity"}


def test_what_noise_wins_has_no_better_direction(rng):
    measure, seen = made("vendi", rng)
    noise = measure.replicates(replace(seen, features=1e3 * normal(rng, NUM, DIM)))
    tight = measure.replicates(replace(seen, features=1 + 0.1 * normal(rng, NUM, DIM)))
    assert (noise["vendi_toy"] > tight["vendi_toy"]).all()
    assert measure.kinds["vendi"].direction == 0
    assert METRICS["lpips"].kinds["lpips_diversity"].direction == 0


def test_samples_of_a_space_are_two_at_least():
    for kind in METRICS.values():
        if issubclass(kind, FeatureSpaceMetric):
            with pytest.raises(ValueError, match="wanted num_samples >= 2 or null, got 1"):
                kind(num_samples=1)


def test_ranges_are_open_upward_where_nothing_bounds_them():
    assert METRICS["frechet"].kinds["frechet"].high == math.inf
    assert METRICS["neighbours"].kinds["density"].high == math.inf
    unbiased = [("kernel", "kernel"), ("energy", "energy"), ("cmmd", "cmmd_unbiased")]
    for name, kind in (*unbiased, ("cluster_kernel", "kernel_cluster")):
        assert METRICS[name].kinds[kind].low == -math.inf  # no biases, so below zero at times


@pytest.mark.parametrize("name", METRICS)
def test_both_at_once_are_the_two_by_themselves(name, rng):
    measure, seen = made(name, rng)
    counts = torch.from_numpy(np.random.default_rng(1).multinomial(NUM, np.full(NUM, 1 / NUM), 5))
    rows = torch.cat([seen.weights, counts])
    found, drawn = measure.evaluate(seen, rows)
    each = measure.replicates(seen), measure.bootstrap(seen, counts.double())
    for some, alone in zip((found, drawn), each, strict=True):
        assert some.keys() == alone.keys()
        for metric, values in some.items():
            torch.testing.assert_close(values, alone[metric], rtol=1e-9, atol=1e-9)
    assert measure.evaluate(seen, seen.weights)[1] == {}
